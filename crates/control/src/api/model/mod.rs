//! The shapes of the API: what travels as JSON. The CLI reads the same types.

mod event;
mod page;
mod run;
mod step;
mod time;
mod token;
mod worker;
mod workflow;

pub use event::{Event, LogLine};
pub use page::Page;
pub(crate) use run::OWN_LABELS;
pub use run::{ArtifactEntry, HistoryEntry, Run, RunState, RunSummary, SubmitRun, WorkflowReference};
pub use step::{Step, StepState};
pub use time::Time;
pub(crate) use token::hex;
pub use token::{
    CreateJoinToken, CreateToken, CreatedJoinToken, CreatedToken, JoinToken, Role, Token, Version,
};
pub use worker::Worker;
pub use workflow::{Document, Validation, Workflow, WorkflowSummary};
