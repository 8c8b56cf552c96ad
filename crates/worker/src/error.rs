//! Why a worker stops, and how the failures of a step become errors that a document can catch.

use protocol::step::{StepError, error_type};

/// A worker cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WorkerError {
    /// The server's URL does not parse.
    #[error("the server's address {url:?} is not a URL")]
    ServerAddress {
        /// As configured.
        url: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// The server does not know the credential.
    #[error(
        "the server refused this worker's credential: {message}; enrol the worker again with a join token"
    )]
    Refused {
        /// The server's words.
        message: String,
    },
    /// What makes the sandboxes has ended, and the running sandboxes with it.
    #[error("the sandbox backend of this worker has ended; start the worker again")]
    SandboxesGone,
    /// TLS needs the machine's root certificates.
    #[error("the machine's root certificates cannot be read: {0}; install `ca-certificates`")]
    RootCertificates(#[source] std::io::Error),
}

/// An error of the given type; `status` as HTTP has them.
pub(crate) fn step_error(kind: &str, status: u16, title: &str, detail: impl Into<String>) -> StepError {
    StepError { kind: kind.to_owned(), status, title: title.to_owned(), detail: detail.into() }
}

/// The step's own configuration is wrong for this worker.
pub(crate) fn configuration(detail: impl Into<String>) -> StepError {
    step_error(error_type::CONFIGURATION, 400, "The step cannot be run as it is configured", detail)
}

/// The work itself failed.
pub(crate) fn runtime(detail: impl Into<String>) -> StepError {
    step_error(error_type::RUNTIME, 500, "The step failed", detail)
}

/// The other side of a call failed.
pub(crate) fn communication(status: u16, detail: impl Into<String>) -> StepError {
    step_error(error_type::COMMUNICATION, status, "The call failed", detail)
}

/// The identity was refused or could not be asked for.
pub(crate) fn authentication(status: u16, detail: impl Into<String>) -> StepError {
    step_error(error_type::AUTHENTICATION, status, "The step did not receive its identity", detail)
}

/// A policy forbids what the step wants.
pub(crate) fn authorization(detail: impl Into<String>) -> StepError {
    step_error(error_type::AUTHORIZATION, 403, "A policy forbids it", detail)
}

/// A limit of time was passed.
pub(crate) fn timeout(detail: impl Into<String>) -> StepError {
    step_error(error_type::TIMEOUT, 408, "The step took too long", detail)
}
