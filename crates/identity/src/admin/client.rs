//! A client of the admin API, used by the CLI. Each call is one connection to the broker's Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;
use zeroize::Zeroizing;

use super::wire::{
    AuditPage, EnrolRequest, IdentityDetail, IdentitySummary, Party, RevokeAnswer, RevokeRequest,
    RotateRequest, SetAnswer, Status, StoreListing,
};
use crate::audit::{AuditReport, Checkpoint};
use crate::broker::folder::ADMIN_SOCKET;
use crate::broker::problem::Problem;
use crate::builtin::Expect;
use crate::percent;
use crate::policy::Policy;
use crate::reference::{IdentityName, IdentityRef, KeyName, ViewName};

/// Longest wait for an answer, seconds.
pub const ANSWER_SECONDS: u64 = 60;
/// Longest answer, bytes.
const MAX_ANSWER_BYTES: usize = 64 * 1024 * 1024;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No broker listens.
    #[error("no broker answers at {}: is it running, and are you its user?", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The broker refused.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// The connection broke or the answer was not understood.
    #[error("the broker's answer was not understood: {0}")]
    Protocol(String),
    /// No answer in time.
    #[error("the broker did not answer within 60 s")]
    Timeout,
}

/// The client.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// Of the broker whose state folder this is.
    pub fn in_folder(folder: &Path) -> Self {
        Client { socket: folder.join(ADMIN_SOCKET) }
    }

    /// The broker's own facts.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.get("/v1/status").await
    }

    /// All identities.
    pub async fn identities(&self) -> Result<Vec<IdentitySummary>, ClientError> {
        self.get("/v1/identities").await
    }

    /// What each identity backend beside the builtin file lists.
    pub async fn stores(&self) -> Result<Vec<StoreListing>, ClientError> {
        self.get("/v1/stores").await
    }

    /// One identity: names, versions, policy; never values.
    pub async fn identity(&self, name: &IdentityRef) -> Result<IdentityDetail, ClientError> {
        self.get(&identity_path(name, "")).await
    }

    /// Makes an identity without keys.
    pub async fn create(&self, name: &IdentityName, policy: &Policy) -> Result<(), ClientError> {
        self.send_empty(Method::PUT, &format!("/v1/identities/{name}"), policy).await
    }

    /// Removes an identity and its keys.
    pub async fn remove(&self, name: &IdentityRef) -> Result<(), ClientError> {
        self.send_empty(Method::DELETE, &identity_path(name, ""), &()).await
    }

    /// Sets a value. The identity must exist: see [`Client::create`].
    pub async fn set(
        &self,
        name: &IdentityName,
        key: &KeyName,
        secret: bool,
        expect: Expect,
        value: &Zeroizing<Vec<u8>>,
    ) -> Result<SetAnswer, ClientError> {
        let expect = match expect {
            Expect::New => "new",
            Expect::Existing => "existing",
            Expect::Any => "any",
        };
        let path = format!("/v1/identities/{name}/keys/{key}?secret={secret}&expect={expect}");
        parse(&self.call(Method::PUT, &path, Bytes::copy_from_slice(value)).await?)
    }

    /// Removes a key, also from the views.
    pub async fn remove_key(&self, name: &IdentityName, key: &KeyName) -> Result<(), ClientError> {
        self.send_empty(Method::DELETE, &format!("/v1/identities/{name}/keys/{key}"), &()).await
    }

    /// Sets a view to these keys.
    pub async fn set_view(
        &self,
        name: &IdentityName,
        view: &ViewName,
        keys: &[KeyName],
    ) -> Result<(), ClientError> {
        self.send_empty(Method::PUT, &format!("/v1/identities/{name}/views/{view}"), keys).await
    }

    /// Removes a view.
    pub async fn remove_view(&self, name: &IdentityName, view: &ViewName) -> Result<(), ClientError> {
        self.send_empty(Method::DELETE, &format!("/v1/identities/{name}/views/{view}"), &()).await
    }

    /// Sets the policy.
    pub async fn set_policy(&self, name: &IdentityRef, policy: &Policy) -> Result<(), ClientError> {
        self.send_empty(Method::PUT, &identity_path(name, "/policy"), policy).await
    }

    /// Revokes an identity from the next grant on; with `hard` also from those who hold it.
    pub async fn revoke(
        &self,
        name: &IdentityRef,
        reason: &str,
        hard: bool,
    ) -> Result<RevokeAnswer, ClientError> {
        let request = RevokeRequest { reason: reason.into(), hard };
        self.send(Method::POST, &identity_path(name, "/revoke"), &request).await
    }

    /// Ends a revocation.
    pub async fn restore(&self, name: &IdentityRef) -> Result<(), ClientError> {
        self.send_empty(Method::POST, &identity_path(name, "/restore"), &()).await
    }

    /// Replaces the data key of the builtin file; `recipients` (age) are the present ones where absent.
    pub async fn rotate_data_key(&self, recipients: Option<Vec<String>>) -> Result<(), ClientError> {
        self.send_empty(Method::POST, "/v1/data-key/rotate", &RotateRequest { recipients }).await
    }

    /// Enrolled workers.
    pub async fn workers(&self) -> Result<Vec<Party>, ClientError> {
        self.get("/v1/workers").await
    }

    /// Enrols a worker's key; the same again changes nothing.
    pub async fn enrol_worker(&self, name: &str, key: &str) -> Result<(), ClientError> {
        self.send_empty(Method::PUT, &party_path("workers", name)?, &EnrolRequest { key: key.into() }).await
    }

    /// Removes a worker.
    pub async fn remove_worker(&self, name: &str) -> Result<(), ClientError> {
        self.send_empty(Method::DELETE, &party_path("workers", name)?, &()).await
    }

    /// Trusted servers.
    pub async fn servers(&self) -> Result<Vec<Party>, ClientError> {
        self.get("/v1/servers").await
    }

    /// Trusts a server's grant key; the same again changes nothing.
    pub async fn trust_server(&self, name: &str, key: &str) -> Result<(), ClientError> {
        self.send_empty(Method::PUT, &party_path("servers", name)?, &EnrolRequest { key: key.into() }).await
    }

    /// Removes a server.
    pub async fn remove_server(&self, name: &str) -> Result<(), ClientError> {
        self.send_empty(Method::DELETE, &party_path("servers", name)?, &()).await
    }

    /// Lines of the audit trail from a byte offset on: 0, then the `next_offset` of the page before.
    pub async fn audit(&self, offset: u64) -> Result<AuditPage, ClientError> {
        self.get(&format!("/v1/audit?offset={offset}")).await
    }

    /// Verifies the audit trail, also against a checkpoint that was kept elsewhere.
    pub async fn verify_audit(&self, kept: Option<&Checkpoint>) -> Result<AuditReport, ClientError> {
        self.send(Method::POST, "/v1/audit/verify", &kept).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        parse(&self.call(Method::GET, path, Bytes::new()).await?)
    }

    async fn send<B: Serialize + ?Sized, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<T, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Protocol(error.to_string()))?;
        parse(&self.call(method, path, body.into()).await?)
    }

    async fn send_empty<B: Serialize + ?Sized>(
        &self,
        method: Method,
        path: &str,
        body: &B,
    ) -> Result<(), ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Protocol(error.to_string()))?;
        self.call(method, path, body.into()).await.map(drop)
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Bytes, ClientError> {
        let answer =
            tokio::time::timeout(Duration::from_secs(ANSWER_SECONDS), self.exchange(method, path, body));
        let (status, body) = answer.await.map_err(|_| ClientError::Timeout)??;
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice(&body) {
            Ok(problem) => Err(ClientError::Refused(problem)),
            Err(_) => Err(ClientError::Protocol(format!("status {status} without a problem document"))),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.map_err(|source| ClientError::Connect { path: self.socket.clone(), source })?;
        let broken = |error: &dyn std::fmt::Display| ClientError::Protocol(error.to_string());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let request =
            Request::builder().method(method).uri(path).header("host", "broker").body(Full::new(body));
        let request = request.map_err(|error| broken(&error))?;
        let answer = async {
            let answer = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let status = answer.status();
            let body = Limited::new(answer.into_body(), MAX_ANSWER_BYTES).collect().await;
            Ok((status, body.map_err(|error| broken(&error))?.to_bytes()))
        };
        tokio::pin!(answer);
        tokio::pin!(connection);
        // The connection is driven here and not by a task of its own, so that it ends with this call.
        tokio::select! {
            answer = &mut answer => answer,
            ended = &mut connection => {
                ended.map_err(|error| broken(&error))?;
                answer.await
            }
        }
    }
}

fn identity_path(name: &IdentityRef, end: &str) -> String {
    format!("/v1/identities/{}{end}", percent::segment(&name.to_string()))
}

/// Names of workers and servers are printable ASCII; what has a meaning in a path is refused rather than escaped.
fn party_path(list: &str, name: &str) -> Result<String, ClientError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.~@:".contains(&byte))
    {
        let detail = format!("`{name}` is not a name: use letters, digits and - _ . ~ @ :");
        return Err(ClientError::Refused(Problem::new(
            StatusCode::BAD_REQUEST,
            "name",
            "Name refused",
            detail,
            false,
        )));
    }
    Ok(format!("/v1/{list}/{name}"))
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ClientError> {
    serde_json::from_slice(body).map_err(|error| ClientError::Protocol(error.to_string()))
}
