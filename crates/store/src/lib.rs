//! What the control plane remembers: runs, steps, leases, timers, workers, workflows, tokens and logs.
//!
//! [`Store`] is the one trait; [`memory`] is its fake and [`sqlite`] the embedded default. Both pass the suite of the
//! feature `conformance`.

pub mod blob;
mod catalog;
#[cfg(feature = "conformance")]
pub mod conformance;
mod error;
mod large;
mod log;
pub mod memory;
mod run;
mod sql;
pub mod sqlite;
mod stage;
mod step;
mod store;
mod token;
mod turn;
mod worker;

pub use catalog::{PublishOutcome, VersionWanted, Workflow, WorkflowCursor, WorkflowFilter, WorkflowName};
pub use error::{Refusal, StoreError};
pub use large::{MAX_INLINE_BYTES, MAX_VALUE_BYTES};
pub use log::{LogBody, LogChunk, LogCursor, LogFilter, MAX_LOG_BYTES_PER_STEP};
pub use run::{
    Counts, Deleted, HistoryEntry, LoadedRun, MAX_PAGE_ROWS, Parent, RunFilter, RunPage, RunStatus,
    RunSummary, RunValues, Snapshot, Timer,
};
pub use step::{Lease, ReadyCursor, ReadyStep, Step, StepState};
pub use store::Store;
pub use token::{ApiToken, JoinToken, TokenHash};
pub use turn::{
    EncodedEvent, Idempotency, MAX_COMMIT_TURNS, NewRun, NewStep, StepChange, SummaryChange, TimerChange,
    Turn, TurnOutcome,
};
pub use worker::Worker;
