//! The run's state machine: events in, actions out. Pure: no I/O, no clock, no randomness.
//!
//! [`Run::apply`] takes one [`Event`] and gives [`Action`]s. Time and ids arrive inside events, so the same events give
//! the same state and the same actions, always.
//!
//! Inside, a run is a tree of *frames*, one for each task or list of tasks in progress, and an *agenda* of what is to be done
//! next. An event is checked and put on the agenda (`lifecycle`, a file per event); then a *turn* works on the agenda in
//! transitions (`turn`), each of which begins a task, ends one or lets one fail (`task`, a file per kind; `data` for input
//! and output, `fault` for errors). Frames that are over are removed, so that the state does not grow with the steps behind it, and
//! nothing is called more deeply for a deeper document. A turn that is long enough yields.

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
