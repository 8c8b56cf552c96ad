//! The run's state machine: events in, actions out. Pure: no I/O, no clock, no randomness.
//!
//! [`Run::apply`] takes one [`Event`] and gives [`Action`]s. Time and ids arrive inside events, so the same events give
//! the same state and the same actions, always.

mod action;
mod event;
pub mod limits;
mod outcome;
mod rejected;
mod run;
mod status;

pub use action::{Action, TaskNote, TaskPhase};
pub use event::{ChildId, Event};
pub use outcome::{RunError, RunOutcome};
pub use rejected::{Rejected, RestoreError};
pub use run::{Run, RunInfo, SNAPSHOT_VERSION};
pub use status::Status;
