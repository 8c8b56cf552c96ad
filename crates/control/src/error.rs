//! Why the control plane did not do what was asked. Each variant is something the caller can act on.

use protocol::id::RunId;
use workflow::Diagnostics;

/// Why a run was not accepted. Nothing of it was stored.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    /// The document was refused; the findings say where and why.
    #[error("the document is refused: {0}")]
    Document(Diagnostics),
    /// No published workflow of that name and version.
    #[error("no workflow `{namespace}/{name}`{} is published", .version.as_ref().map(|v| format!(" version {v}")).unwrap_or_default())]
    NoSuchWorkflow {
        /// Namespace asked for.
        namespace: String,
        /// Name asked for.
        name: String,
        /// Version asked for; `None` means the latest.
        version: Option<String>,
    },
    /// The document's namespace is not the one of the request.
    #[error("the document is of namespace `{document}`, the request of `{request}`")]
    NamespaceMismatch {
        /// Namespace of the document.
        document: String,
        /// Namespace of the request.
        request: String,
    },
    /// The idempotency key was used for another request.
    #[error("idempotency key `{key}` was used for run {run} with another document or input")]
    IdempotencyKeyReused {
        /// The key.
        key: String,
        /// The run it started.
        run: RunId,
    },
    /// The request passes a limit; the text names it.
    #[error("{0}")]
    TooLarge(String),
    /// The request cannot be understood; the text names the place and the remedy.
    #[error("{0}")]
    Invalid(String),
    /// The store or the driver cannot take it now; try again later.
    #[error("the run was not stored: {0}; try again")]
    Unavailable(String),
}

/// Why a document was not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The document was refused; the findings say where and why.
    #[error("the document is refused: {0}")]
    Document(Diagnostics),
    /// That version exists with another content; publish under a new version.
    #[error(
        "workflow `{namespace}/{name}` version {version} is published with another content; raise its version"
    )]
    VersionTaken {
        /// Namespace.
        namespace: String,
        /// Name.
        name: String,
        /// Version.
        version: String,
    },
    /// The store cannot take it now; try again later.
    #[error("the document was not stored: {0}; try again")]
    Unavailable(String),
}

/// Why a request about a run or a worker was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// No run of that id.
    #[error("no run {0}")]
    NoSuchRun(RunId),
    /// No worker of that name.
    #[error("no worker `{0}` is enrolled")]
    NoSuchWorker(String),
    /// The run's state does not allow it, such as resuming a run that has ended.
    #[error("{0}")]
    Conflict(String),
    /// The store or the driver cannot do it now; try again later.
    #[error("not done: {0}; try again")]
    Unavailable(String),
}
