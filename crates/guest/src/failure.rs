//! Why the guest cannot do what was asked, as the worker and in the end the user read it.

use std::fmt::Display;

use protocol::frame::{FailureKind, FromGuest};

/// A kind and a sentence for the user; the sentence holds no secret and no key name.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: FailureKind,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(kind: FailureKind, message: impl Display) -> Self {
        Failure { kind, message: message.to_string() }
    }

    pub(crate) fn protocol(message: impl Display) -> Self {
        Failure::new(FailureKind::Protocol, message)
    }

    /// The frame that tells the worker.
    pub(crate) fn into_frame(self) -> FromGuest {
        FromGuest::Failed { kind: self.kind, message: self.message }
    }
}
