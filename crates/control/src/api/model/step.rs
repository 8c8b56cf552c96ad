//! Steps.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Time;

/// Where a step is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It waits for a worker.
    Ready,
    /// A worker has it.
    Leased,
    /// A worker has begun it.
    Running,
    /// It gave its output.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its worker was lost; it will be handed out again. Only in events.
    Lost,
}

impl StepState {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            StepState::Ready => "ready",
            StepState::Leased => "leased",
            StepState::Running => "running",
            StepState::Completed => "completed",
            StepState::Failed => "failed",
            StepState::Cancelled => "cancelled",
            StepState::Lost => "lost",
        }
    }

    /// Whether the step has ended.
    pub fn has_ended(self) -> bool {
        matches!(self, StepState::Completed | StepState::Failed | StepState::Cancelled)
    }
}

impl From<store::StepState> for StepState {
    fn from(state: store::StepState) -> Self {
        match state {
            store::StepState::Ready => StepState::Ready,
            store::StepState::Leased => StepState::Leased,
            store::StepState::Started => StepState::Running,
            store::StepState::Completed => StepState::Completed,
            store::StepState::Failed => StepState::Failed,
            store::StepState::Cancelled => StepState::Cancelled,
        }
    }
}

impl From<crate::watch::StepState> for StepState {
    fn from(state: crate::watch::StepState) -> Self {
        match state {
            crate::watch::StepState::Ready => StepState::Ready,
            crate::watch::StepState::Leased => StepState::Leased,
            crate::watch::StepState::Running => StepState::Running,
            crate::watch::StepState::Completed => StepState::Completed,
            crate::watch::StepState::Failed => StepState::Failed,
            crate::watch::StepState::Cancelled => StepState::Cancelled,
            crate::watch::StepState::Lost => StepState::Lost,
        }
    }
}

/// A step of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Number within the run.
    pub step: u32,
    /// Name of the task.
    pub name: String,
    /// JSON pointer of the task in the document.
    pub task: String,
    /// Execution mode: `bare`, `sandboxed`, `identity`, `full` or `full-jit`.
    pub mode: String,
    /// The mode as people say it: `0`, `1`, `2`, `3` or `3b`.
    pub mode_number: String,
    /// State.
    pub state: StepState,
    /// Attempts begun so far; 0 before the first lease.
    pub attempt: u32,
    /// The worker that has it, or had it last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The sandbox of the last attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<String>,
    /// When it last became ready.
    pub ready: Time,
    /// When the last attempt was leased.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leased: Option<Time>,
    /// When the last attempt began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Time>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// Why it waits, where it does, such as `no worker offers gpu=1`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<String>,
    /// What went wrong, in the shape of DSL errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// How many files came back; `/runs/{id}/artifacts` lists them.
    #[serde(default)]
    pub artifacts: usize,
}

impl From<store::Step> for Step {
    fn from(step: store::Step) -> Self {
        Step {
            step: step.step.0,
            name: step.name,
            task: step.task,
            mode: step.mode.name().to_owned(),
            mode_number: step.mode.number().to_owned(),
            state: step.state.into(),
            attempt: step.attempt,
            worker: step.worker,
            sandbox: step.sandbox,
            ready: step.ready_at.into(),
            leased: step.leased_at.map(Time::from),
            started: step.started_at.map(Time::from),
            ended: step.finished_at.map(Time::from),
            waiting: None,
            error: step.error.as_deref().and_then(|text| serde_json::from_slice(text).ok()),
            artifacts: step.artifacts.len(),
        }
    }
}
