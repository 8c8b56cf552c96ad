//! The gRPC stream between server and worker, generated from `proto/worker.proto`.
//!
//! The generated code is committed, so that a build needs no protobuf compiler; `tests/generated.rs` holds it to the
//! `.proto` file and rewrites it with `SAGEWAI_BLESS=1`.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated code"
)]

include!("worker_api/generated.rs");

use crate::id::{AttemptId, RunId, StepId};
use crate::step::SandboxNeeds;

impl SandboxOffer {
    /// Whether a step with these needs may run on this sandbox backend.
    pub fn takes(&self, needs: &SandboxNeeds<'_>) -> bool {
        needs.backend.is_none_or(|name| self.name == name)
            && (self.images || !needs.image)
            && (self.long || !needs.long)
            && (self.tunnel || !needs.network)
            && self.modes.iter().any(|mode| mode == needs.mode.name())
    }
}

impl From<AttemptId> for Attempt {
    fn from(id: AttemptId) -> Self {
        Attempt { run: id.run.0.as_bytes().to_vec(), step: id.step.0, attempt: id.attempt }
    }
}

impl TryFrom<&Attempt> for AttemptId {
    type Error = uuid::Error;

    fn try_from(wire: &Attempt) -> Result<Self, Self::Error> {
        let run = RunId(uuid::Uuid::from_slice(&wire.run)?);
        Ok(AttemptId { run, step: StepId(wire.step), attempt: wire.attempt })
    }
}
