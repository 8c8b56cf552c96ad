//! Making a change: recorded first, then made, its failure recorded too; and failures as problems.

use axum::http::StatusCode;
use serde::de::DeserializeOwned;

use super::{Admin, Operator};
use crate::audit::Event;
use crate::audit::record::Change;
use crate::backend::BackendError;
use crate::broker::core::Broker;
use crate::broker::problem::Problem;
use crate::broker::trust::TrustError;
use crate::builtin::BuiltinError;
pub(super) use crate::external::open::chain;

impl Admin {
    pub(super) async fn change<E: Into<AdminFault> + Send + 'static>(
        &self,
        operator: Operator,
        action: &str,
        subject: String,
        detail: Option<String>,
        change: impl FnOnce(&Broker) -> Result<(), E> + Send + 'static,
    ) -> Result<StatusCode, Problem> {
        self.make(operator, action, subject, detail, change).await.map(|()| StatusCode::NO_CONTENT)
    }

    /// Records the change, makes it, and records it if it failed.
    pub(super) async fn make<T: Send + 'static, E: Into<AdminFault> + Send + 'static>(
        &self,
        operator: Operator,
        action: &str,
        subject: String,
        detail: Option<String>,
        change: impl FnOnce(&Broker) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem> {
        let event = Event::Changed {
            operator_uid: operator.0,
            change: Change { action: action.into(), subject: subject.clone(), detail },
        };
        let recorded = self.broker.journal.record(None, event).await;
        let seq = recorded
            .map_err(|_| internal("the audit trail cannot be written, so nothing was changed".into()))?;
        let broker = self.broker.clone();
        match blocking(move || change(&broker)).await? {
            Ok(made) => {
                tracing::info!(action, subject, operator_uid = operator.0, "changed");
                Ok(made)
            }
            Err(error) => {
                let AdminFault(problem) = error.into();
                let event = Event::ChangeFailed { seq, reason: problem.detail.clone() };
                let _ = self.broker.journal.record(None, event).await;
                Err(problem)
            }
        }
    }
}

/// A failed change as a problem.
pub(super) struct AdminFault(Problem);

impl From<BuiltinError> for AdminFault {
    fn from(error: BuiltinError) -> Self {
        AdminFault(builtin_problem(error))
    }
}

impl From<TrustError> for AdminFault {
    fn from(error: TrustError) -> Self {
        AdminFault(trust_problem(error))
    }
}

pub(super) fn builtin_problem(error: BuiltinError) -> Problem {
    let detail = chain(&error);
    match error {
        BuiltinError::NotFound(_) => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, false)
        }
        BuiltinError::Exists(_) => {
            Problem::new(StatusCode::CONFLICT, "exists", "Exists already", detail, false)
        }
        BuiltinError::Payload(_)
        | BuiltinError::Policy(_)
        | BuiltinError::Limit(_)
        | BuiltinError::Unlock(_) => malformed(detail),
        _ => internal(detail),
    }
}

pub(super) fn trust_problem(error: TrustError) -> Problem {
    let detail = chain(&error);
    match error {
        TrustError::NotFound(_) => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, false)
        }
        TrustError::Exists(_) => {
            Problem::new(StatusCode::CONFLICT, "exists", "Exists already", detail, false)
        }
        TrustError::Key(_) | TrustError::Name | TrustError::Full => malformed(detail),
        TrustError::Disk(_) | TrustError::Malformed(_) => internal(detail),
    }
}

pub(super) fn backend_problem(error: BackendError) -> Problem {
    let detail = chain(&error);
    match error {
        BackendError::NotFound(_) => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, false)
        }
        BackendError::NotConfigured(_) | BackendError::Unmapped { .. } | BackendError::Collides { .. } => {
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "configuration", "Not configured", detail, false)
        }
        BackendError::Unreachable { .. } | BackendError::Slow { .. } | BackendError::Failed { .. } => {
            Problem::new(StatusCode::BAD_GATEWAY, "store", "The store cannot be asked", detail, true)
        }
        _ => internal(detail),
    }
}

pub(super) fn malformed(detail: impl ToString) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail.to_string(), false)
}

pub(super) fn internal(detail: String) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The broker failed", detail, false)
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| internal("the change did not end; see the broker's log".into()))
}

pub(super) fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(malformed)
}

pub(super) fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| malformed(format!("the body is refused: {error}")))
}

pub(super) fn text_of<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
