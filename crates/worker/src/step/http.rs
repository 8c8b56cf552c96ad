//! `call: http` in mode 0: sent by the worker itself. What is sent and what an answer means is the crate `caller`'s.

use bytes::Bytes;
use caller::{Exchange, MAX_ANSWER_BYTES, Reply, place, too_large};
use http::{Request, Uri};
use protocol::step::{HttpCall, StepError};
use sandbox::egress::{Denial, DenialReason, Dialer, refusal};
use serde_json::Value;
use url::Url;

use crate::error::{WorkerError, authorization, communication, configuration};
use crate::http_client::{Body, GuardedClient, Unread, body, guarded_client, read_limited};

/// Sends the requests of documents.
pub(super) struct HttpCaller {
    client: GuardedClient,
}

impl HttpCaller {
    pub(super) fn new(dialer: Dialer) -> Result<Self, WorkerError> {
        Ok(HttpCaller { client: guarded_client(dialer)? })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// The request is malformed, the address is private, the other side failed or answered with an error status.
    pub(super) async fn call(&self, call: &HttpCall) -> Result<Value, StepError> {
        let call = with_plain_uri(call)?;
        // Whoever could foresee it may have the literal credential from the document anyway.
        let random = uuid::Uuid::new_v4().into_bytes();
        let mut exchange = Exchange::new(&call, call.authentication.clone(), random)?;
        loop {
            let reply = self.send(exchange.request()).await?;
            if let Some(answer) = exchange.receive(&reply)? {
                return caller::output(&call, &answer);
            }
        }
    }

    async fn send(&self, request: &caller::Request) -> Result<Reply, StepError> {
        let response =
            self.client.request(to_http(request)).await.map_err(|error| unsent(&request.uri, &error))?;
        let (parts, incoming) = response.into_parts();
        let body = read_limited(incoming, MAX_ANSWER_BYTES).await.map_err(|why| match why {
            Unread::TooLarge(_) => too_large(&place(&request.uri)),
            why => communication(502, format!("the answer of {} broke off: {why}", place(&request.uri))),
        })?;
        Ok(Reply { status: parts.status, headers: parts.headers, body })
    }
}

/// The call with its URI as HTTP writes it: what documents may write otherwise, such as a space or a host in another
/// script, is encoded.
///
/// # Errors
/// It is no address for HTTP.
pub(super) fn with_plain_uri(call: &HttpCall) -> Result<HttpCall, StepError> {
    let url = Url::parse(&call.uri)
        .map_err(|error| configuration(format!("{:?} is not an address: {error}", call.uri)))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(configuration(format!(
            "{:?} is not an address for HTTP: it starts with {:?}",
            call.uri,
            url.scheme()
        )));
    }
    Ok(HttpCall { uri: url.into(), ..call.clone() })
}

fn to_http(request: &caller::Request) -> Request<Body> {
    let mut sent = Request::new(body(Bytes::clone(&request.body)));
    *sent.method_mut() = request.method.clone();
    *sent.uri_mut() = request.uri.clone();
    *sent.headers_mut() = request.headers.clone();
    sent
}

fn unsent(uri: &Uri, error: &hyper_util::client::legacy::Error) -> StepError {
    if let Some(denial) = refusal(error) {
        return denied(denial, &place(uri));
    }
    // The innermost cause says it best.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    communication(502, format!("{} could not be asked: {cause}", place(uri)))
}

/// The error of a connection that was refused, in any mode.
pub(super) fn denied(denial: &Denial, place: &str) -> StepError {
    match denial.reason {
        DenialReason::PrivateAddress(..) => authorization(format!(
            "{denial}; the operator can allow it with --allow-private {}:{}",
            denial.host, denial.port
        )),
        _ => communication(502, format!("{place} could not be asked: {denial}")),
    }
}
