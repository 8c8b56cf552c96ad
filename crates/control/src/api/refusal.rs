//! How the errors of control plane and store become problems. What a client cannot act on goes to the log instead.

use store::StoreError;
use tracing::error;

use super::problem::{Kind, Problem};
use crate::{ControlError, PublishError, SubmitError};

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full => Problem::new(Kind::StorageFull, error.to_string()),
            StoreError::Busy | StoreError::Closed => Problem::new(Kind::Unavailable, error.to_string()),
            StoreError::Invalid(detail) => Problem::new(Kind::MalformedRequest, detail),
            StoreError::Exists { .. } => Problem::new(Kind::Conflict, error.to_string()),
            StoreError::Locked { .. }
            | StoreError::NewerSchema { .. }
            | StoreError::Corrupt { .. }
            | StoreError::Io { .. } => internal(&error),
        }
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NoSuchRun(run) => Problem::not_found(format_args!("run {run}")),
            ControlError::NoSuchWorker(name) => Problem::not_found(format_args!("worker {name}")),
            ControlError::Conflict(detail) => Problem::new(Kind::Conflict, detail),
            ControlError::Unavailable(_) => Problem::new(Kind::Unavailable, error.to_string()),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match &error {
            SubmitError::Document(diagnostics) => Problem::document(diagnostics),
            SubmitError::NoSuchWorkflow { .. } => Problem::new(Kind::NotFound, error.to_string())
                .hint("publish it first: sagewai workflow publish FILE"),
            SubmitError::NamespaceMismatch { .. } => Problem::new(Kind::MalformedRequest, error.to_string()),
            SubmitError::IdempotencyKeyReused { .. } => {
                Problem::new(Kind::IdempotencyMismatch, error.to_string())
            }
            SubmitError::TooLarge(detail) => Problem::new(Kind::PayloadTooLarge, detail.clone()),
            SubmitError::Invalid(detail) => Problem::new(Kind::MalformedRequest, detail.clone()),
            SubmitError::Unavailable(_) => Problem::new(Kind::Unavailable, error.to_string()),
        }
    }
}

impl From<PublishError> for Problem {
    fn from(error: PublishError) -> Self {
        match &error {
            PublishError::Document(diagnostics) => Problem::document(diagnostics),
            PublishError::VersionTaken { .. } => Problem::new(Kind::Conflict, error.to_string())
                .hint("raise document.version: a published version never changes"),
            PublishError::Unavailable(_) => Problem::new(Kind::Unavailable, error.to_string()),
        }
    }
}

/// A fault that the client cannot act on: the cause is logged, not told.
pub(super) fn internal(cause: &dyn std::error::Error) -> Problem {
    let mut chain = cause.to_string();
    let mut source = cause.source();
    while let Some(next) = source {
        chain.push_str(": ");
        chain.push_str(&next.to_string());
        source = next.source();
    }
    error!(cause = %chain, "a request failed");
    Problem::new(Kind::Internal, "the server could not do it; its log has the cause")
}
