//! Refusals of the worker API as problems (RFC 9457). A detail may be shown in the control plane: it names no key.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use seal::grant::GrantError;
use seal::worker_token::WorkerTokenError;
use serde::{Deserialize, Serialize};

use crate::policy::NOTHING_ALLOWED;
use crate::reference::ReferenceError;

/// A problem document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// `urn:sagewai:problem:broker:` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// What kind of problem, in words.
    pub title: String,
    /// HTTP status.
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// Whether the same may succeed later, with a new grant.
    pub retryable: bool,
}

impl Problem {
    /// A problem of this code.
    pub fn new(status: StatusCode, code: &str, title: &str, detail: String, retryable: bool) -> Self {
        let kind = format!("urn:sagewai:problem:broker:{code}");
        Problem { kind, title: title.into(), status: status.as_u16(), detail, retryable }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(header::CONTENT_TYPE, "application/problem+json")], Json(self)).into_response()
    }
}

/// Why a worker got nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The request is not what it must be.
    #[error("the request is malformed: {0}")]
    Malformed(&'static str),
    /// The worker's token is missing or refused.
    #[error("{0}")]
    WorkerToken(WorkerTokenError),
    /// The grant is refused.
    #[error("{0}")]
    Grant(#[from] GrantError),
    /// The grant is for another worker.
    #[error("the grant is for another worker")]
    OtherWorker,
    /// It was used before.
    #[error("the grant was used before: a grant is good for one attempt")]
    Used,
    /// The identity reference is refused.
    #[error("{0}")]
    Reference(#[from] ReferenceError),
    /// There is no such identity or view.
    #[error("the identity or view `{0}` does not exist at the broker")]
    NotFound(String),
    /// It is revoked.
    #[error("the identity is revoked")]
    Revoked,
    /// Policy refuses.
    #[error("{}", policy_refusal(.0))]
    Policy(&'static str),
    /// The store cannot be asked or gave something unusable.
    #[error("the identity cannot be resolved now; the broker's log says why")]
    Unavailable,
    /// What happened could not be recorded, so nothing was handed out.
    #[error("the broker cannot write its audit trail, so it hands out nothing")]
    Audit,
    /// Too much at once.
    #[error("the broker is busy")]
    Busy,
}

fn policy_refusal(dimension: &str) -> String {
    if dimension == NOTHING_ALLOWED {
        return "nobody may use the identity yet: its policy at the broker allows nothing; the broker's operator sets it \
                with `sagewai identity policy`"
            .to_owned();
    }
    format!("the identity's policy at the broker does not allow this {dimension}")
}

impl Refusal {
    /// The code: the end of the problem's `type`, and the `reason` in the audit trail.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Malformed(_) => "malformed",
            Refusal::WorkerToken(_) => "worker-token",
            Refusal::Grant(GrantError::Expired) => "grant-expired",
            Refusal::Grant(_) => "grant",
            Refusal::OtherWorker => "other-worker",
            Refusal::Used => "grant-used",
            Refusal::Reference(_) => "reference",
            Refusal::NotFound(_) => "identity-not-found",
            Refusal::Revoked => "identity-revoked",
            Refusal::Policy(_) => "policy",
            Refusal::Unavailable => "identity-unavailable",
            Refusal::Audit => "audit",
            Refusal::Busy => "busy",
        }
    }

    fn status_and_title(&self) -> (StatusCode, &'static str) {
        match self {
            Refusal::Malformed(_) => (StatusCode::BAD_REQUEST, "Malformed request"),
            Refusal::WorkerToken(_) => (StatusCode::UNAUTHORIZED, "Worker not recognised"),
            Refusal::Grant(_) | Refusal::OtherWorker => (StatusCode::FORBIDDEN, "Grant refused"),
            Refusal::Used => (StatusCode::CONFLICT, "Grant used before"),
            Refusal::Reference(_) => (StatusCode::UNPROCESSABLE_ENTITY, "Identity reference refused"),
            Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "No such identity"),
            Refusal::Revoked => (StatusCode::FORBIDDEN, "Identity revoked"),
            Refusal::Policy(_) => (StatusCode::FORBIDDEN, "Not allowed by policy"),
            Refusal::Unavailable => (StatusCode::SERVICE_UNAVAILABLE, "Identity unavailable"),
            Refusal::Audit => (StatusCode::SERVICE_UNAVAILABLE, "Audit trail unavailable"),
            Refusal::Busy => (StatusCode::SERVICE_UNAVAILABLE, "Busy"),
        }
    }

    /// The problem document.
    pub fn problem(&self) -> Problem {
        let (status, title) = self.status_and_title();
        let retryable = matches!(
            self,
            Refusal::Grant(GrantError::Expired) | Refusal::Unavailable | Refusal::Audit | Refusal::Busy
        );
        Problem::new(status, self.code(), title, self.to_string(), retryable)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        self.problem().into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_without_rules_says_what_to_do() {
        let told = Refusal::Policy(NOTHING_ALLOWED).to_string();
        assert!(told.contains("nobody may use the identity yet"), "{told}");
        assert!(told.contains("`sagewai identity policy`"), "{told}");
        let told = Refusal::Policy("worker").to_string();
        assert_eq!(told, "the identity's policy at the broker does not allow this worker");
    }
}
