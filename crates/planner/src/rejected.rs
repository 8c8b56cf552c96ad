//! Why an event or a snapshot is not accepted.

use protocol::id::{StepId, TimerId};

use crate::event::ChildId;
use crate::status::Status;

/// Why an event was not applied. The run is as it was before.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// The run is in a status in which this event means nothing: started twice, resumed while running, ….
    #[error("a run that is {status} takes no {event} event")]
    Status {
        /// Name of the event.
        event: &'static str,
        /// The run's status.
        status: Status,
    },
    /// The step has ended already, was cancelled, or never was.
    #[error("step {0} is not open")]
    StepNotOpen(StepId),
    /// The child run has ended already, was cancelled, or never was.
    #[error("child run {0} is not open")]
    ChildNotOpen(ChildId),
    /// The timer was cleared, has fired already, or never was.
    #[error("timer {} is not set", .0.0)]
    TimerNotSet(TimerId),
    /// A [`crate::Event::Continued`] that no [`crate::Action::Yield`] asked for.
    #[error("the run did not yield")]
    NotYielded,
}

/// Why a snapshot could not be read.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// Not a snapshot, or damaged.
    #[error("failed to read the snapshot")]
    Malformed(#[source] serde_json::Error),
    /// Written by another version of the planner.
    #[error("the snapshot has version {found}, this planner reads version {expected}")]
    Version {
        /// Version in the snapshot.
        found: u32,
        /// [`crate::SNAPSHOT_VERSION`].
        expected: u32,
    },
    /// It names a task that the document does not have.
    #[error("the snapshot does not belong to this workflow: {0}")]
    Workflow(String),
}
