//! What can go wrong with a sandbox, in variants that a caller can act on.

use protocol::frame::{FailureKind, Layer};

use crate::SandboxId;

/// Why a sandbox could not be made, or a step in it did not end by itself.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// This machine or configuration cannot make such sandboxes; another try will not help.
    #[error("sandbox backend `{backend}` is unavailable: {reason}; {remedy}")]
    Unavailable {
        /// Name of the sandbox backend.
        backend: &'static str,
        /// What is missing.
        reason: String,
        /// What the operator can do.
        remedy: String,
    },
    /// What made the sandboxes of this backend has ended, and they with it; the worker has to be started again.
    #[error("sandbox backend `{backend}` is gone: {reason}")]
    Gone {
        /// Name of the sandbox backend.
        backend: &'static str,
        /// What ended.
        reason: String,
    },
    /// The daemon that holds the sandboxes of this backend does not answer, and they are lost with it; it may come back.
    #[error("sandbox backend `{backend}` is lost: {reason}")]
    Lost {
        /// Name of the sandbox backend.
        backend: &'static str,
        /// What does not answer.
        reason: String,
    },
    /// The image of the template cannot be had or used; another try will not help. The message is fit for the user.
    #[error("{0}")]
    Image(String),
    /// Layers that the operator requires are absent: the start is refused.
    #[error("required isolation is absent: {}", .0.iter().map(|(layer, note)| format!("{layer:?} ({note})")).collect::<Vec<_>>().join(", "))]
    LayersAbsent(Vec<(Layer, String)>),
    /// Making the sandbox failed; another try may help.
    #[error("failed to create a sandbox: {0}")]
    Create(String),
    /// The sandbox was not ready in time.
    #[error("sandbox {0} did not become ready in time")]
    NotReady(SandboxId),
    /// The guest speaks another version of the frame protocol.
    #[error("the guest speaks frame protocol {found}, this worker speaks {}", protocol::frame::FRAME_VERSION)]
    GuestVersion {
        /// The guest's version.
        found: u16,
    },
    /// The guest broke the protocol: the sandbox is hostile or damaged and must be discarded.
    #[error("the guest broke the frame protocol: {0}")]
    Protocol(String),
    /// The channel ended: the guest or the whole sandbox is gone.
    #[error("the sandbox ended unexpectedly{}", .0.as_deref().map(|why| format!(": {why}")).unwrap_or_default())]
    Ended(Option<String>),
    /// The guest could not do what it was asked; the message is fit for the user.
    #[error("{message}")]
    Refused {
        /// What kind.
        kind: FailureKind,
        /// A sentence for the user.
        message: String,
    },
    /// The step was still running at its deadline and was killed.
    #[error("the step did not end before its deadline")]
    Deadline,
    /// The step was cancelled and killed.
    #[error("the step was cancelled")]
    Cancelled,
    /// Whoever reads the step's events went away; the step was killed.
    #[error("the reader of the step's output is gone")]
    OutputClosed,
    /// A file could not be put or collected because of the caller's side.
    #[error("failed to move a file: {0}")]
    File(String),
    /// The caller used the session out of order, such as running twice.
    #[error("a session {0}")]
    Order(&'static str),
    /// The pool is shutting down.
    #[error("the pool of sandboxes is shut down")]
    ShutDown,
}
