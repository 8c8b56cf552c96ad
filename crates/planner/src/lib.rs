//! The run's state machine: events in, actions out. Pure: no I/O, no clock, no randomness.
//!
//! [`Run::apply`] takes one [`Event`] and gives [`Action`]s. Time and ids arrive inside events, so the same events give
//! the same state and the same actions, always.

mod action;
mod backoff;
mod data;
mod ending;
mod error;
mod event;
mod fault;
mod lifecycle;
pub mod limits;
mod outcome;
mod path;
mod rejected;
mod run;
mod schema;
mod scope;
mod snapshot;
mod state;
mod status;
mod task;
mod turn;
mod uri;
mod value;

pub use action::{Action, TaskNote, TaskPhase};
pub use event::{ChildId, Event};
pub use outcome::{RunError, RunOutcome};
pub use rejected::{Rejected, RestoreError};
pub use run::{Run, RunInfo};
pub use snapshot::SNAPSHOT_VERSION;
pub use status::Status;
