//! The broker, as a worker asks it: grant and guest key in, key names and a sealed blob out. What is inside the blob
//! stays closed to the worker.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Request, StatusCode};
use protocol::broker::{OpenRequest, OpenResponse, ReleaseRequest};
use protocol::step::StepError;
use serde::Deserialize;

use crate::config::BrokerAccess;
use crate::error::{WorkerError, authentication};
use crate::http_client::{PlainClient, body, plain_client, read_limited};

/// How long the broker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);
/// Largest answer.
const MAX_ANSWER_BYTES: usize = 2 * 1024 * 1024;

/// Asks the broker for sealed identities.
pub(crate) struct BrokerClient {
    http: PlainClient,
    url: String,
    worker: String,
    key: Arc<seal::SigningKey>,
    /// The broker's public key, for the guest.
    pub(crate) public_key: [u8; 32],
}

/// RFC 9457, as far as it is shown to a user.
#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    title: String,
    #[serde(default)]
    detail: String,
}

impl BrokerClient {
    pub(crate) fn new(access: &BrokerAccess, worker: &str) -> Result<Self, WorkerError> {
        let http = plain_client()?;
        Ok(BrokerClient {
            http,
            url: access.url.trim_end_matches('/').to_owned(),
            worker: worker.to_owned(),
            key: access.signer.clone(),
            public_key: access.public_key,
        })
    }

    /// Trades a grant for what is sealed to one guest.
    ///
    /// # Errors
    /// The broker refused or could not be asked; the step must not start.
    pub(crate) async fn open(&self, grant: &str, guest_key: &[u8; 32]) -> Result<OpenResponse, StepError> {
        let token = seal::worker_token::sign(&self.key, &self.worker, guest_key, grant, now_seconds());
        let request =
            OpenRequest { grant: grant.to_owned(), guest_key: Base64UrlUnpadded::encode_string(guest_key) };
        let body = self.post("/v1/open", &token, &request).await?;
        serde_json::from_slice(&body).map_err(|error| {
            authentication(502, format!("the identity broker's answer does not parse: {error}"))
        })
    }

    /// Tells the broker that a grant's step has ended. Best effort: the broker ends leases by itself too.
    pub(crate) async fn release(&self, grant_id: &str) {
        let token = seal::worker_token::sign_release(&self.key, &self.worker, grant_id, now_seconds());
        let request = ReleaseRequest { grant: grant_id.to_owned() };
        if let Err(error) = self.post("/v1/release", &token, &request).await {
            tracing::debug!(detail = %error.detail, "the broker was not told of a grant's end");
        }
    }

    async fn post(
        &self,
        path: &str,
        token: &str,
        request: &impl serde::Serialize,
    ) -> Result<bytes::Bytes, StepError> {
        let request = Request::post(format!("{}{path}", self.url))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(body(serde_json::to_vec(request).expect("a request to the broker is JSON")))
            .map_err(|error| {
                authentication(500, format!("the identity broker's address is no URL: {error}"))
            })?;
        let unasked = |why: &str| {
            authentication(
                503,
                format!(
                    "the identity broker was not asked: {why}; the step did not start, because its identity could not \
                     be sealed for it"
                ),
            )
        };
        let response = tokio::time::timeout(ANSWER_LIMIT, self.http.request(request))
            .await
            .map_err(|_| unasked("it did not answer in time"))?
            .map_err(|_| unasked("it cannot be reached"))?;
        let status = response.status();
        let answer = read_limited(response.into_body(), MAX_ANSWER_BYTES)
            .await
            .map_err(|why| authentication(502, format!("the identity broker's answer broke off: {why}")))?;
        if status == StatusCode::OK || status == StatusCode::NO_CONTENT {
            return Ok(answer);
        }
        let problem: Problem = serde_json::from_slice(&answer)
            .unwrap_or(Problem { title: String::new(), detail: String::new() });
        let said = if problem.detail.is_empty() { problem.title } else { problem.detail };
        Err(authentication(status.as_u16(), format!("the identity broker refused: {said}")))
    }
}

fn now_seconds() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}
