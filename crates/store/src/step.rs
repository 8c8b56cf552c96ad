//! Steps as they are read: their states, leases, and the queue of the ready ones.

use bytes::Bytes;
use protocol::id::{AttemptId, RunId, StepId, Timestamp};
use protocol::step::{Artifact, Mode};

/// Where a step is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StepState {
    /// Waits for a worker.
    Ready,
    /// A worker has it.
    Leased,
    /// A worker has begun it.
    Started,
    /// Gave its output.
    Completed,
    /// Gave an error.
    Failed,
    /// Ended because it was not wanted any more.
    Cancelled,
}

impl StepState {
    /// All, in the order of a step's life.
    pub const ALL: [StepState; 6] = [
        StepState::Ready,
        StepState::Leased,
        StepState::Started,
        StepState::Completed,
        StepState::Failed,
        StepState::Cancelled,
    ];

    /// Whether the step has ended.
    pub fn is_final(self) -> bool {
        matches!(self, StepState::Completed | StepState::Failed | StepState::Cancelled)
    }

    /// Whether a worker holds the step.
    pub fn is_held(self) -> bool {
        matches!(self, StepState::Leased | StepState::Started)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            StepState::Ready => "ready",
            StepState::Leased => "leased",
            StepState::Started => "started",
            StepState::Completed => "completed",
            StepState::Failed => "failed",
            StepState::Cancelled => "cancelled",
        }
    }
}

/// A step as `runs show` lists it.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// Number within the run.
    pub step: StepId,
    /// JSON pointer of the task.
    pub task: String,
    /// Name of the task.
    pub name: String,
    /// Where it runs.
    pub mode: Mode,
    /// State.
    pub state: StepState,
    /// Attempts begun so far; 0 before the first lease.
    pub attempt: u32,
    /// Class of workers that it fits.
    pub class: String,
    /// Priority within the class.
    pub priority: i32,
    /// The worker that has it, or had it last.
    pub worker: Option<String>,
    /// The sandbox of the last attempt.
    pub sandbox: Option<String>,
    /// When it last became ready.
    pub ready_at: Timestamp,
    /// When the last attempt was leased.
    pub leased_at: Option<Timestamp>,
    /// When the last attempt began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Files that came back.
    pub artifacts: Vec<Artifact>,
    /// What went wrong, JSON text.
    pub error: Option<Bytes>,
}

/// Place in the queue of ready steps of one class: higher priority first, then first come first served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadyCursor {
    /// Priority.
    pub priority: i32,
    /// When it became ready.
    pub at: Timestamp,
    /// The run.
    pub run: RunId,
    /// The step.
    pub step: StepId,
}

/// A step that waits for a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct ReadyStep {
    /// Its place; the next page starts after the last one's.
    pub place: ReadyCursor,
    /// Attempts begun so far; the next lease is one more.
    pub attempt: u32,
    /// Where it runs.
    pub mode: Mode,
    /// Class of workers that it fits.
    pub class: String,
    /// Namespace of the run.
    pub namespace: String,
    /// Workflow of the run.
    pub workflow: String,
    /// Version of the workflow.
    pub workflow_version: String,
    /// JSON of `protocol::step::StepSpec`.
    pub spec: Bytes,
}

/// A step that a worker holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The attempt.
    pub attempt: AttemptId,
    /// The worker.
    pub worker: String,
    /// When it was leased.
    pub leased_at: Timestamp,
    /// Whether the worker has begun.
    pub started: bool,
}
