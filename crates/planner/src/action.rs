//! Actions: what the driver does after it has committed an event.

use std::sync::Arc;

use protocol::id::{StepId, TimerId, Timestamp};
use protocol::step::StepSpec;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::ChildId;
use crate::outcome::RunOutcome;

/// What the driver is to do, in order. An action is performed only after the event that led to it is stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Put a step in the queue.
    StartStep {
        /// A new id.
        step: StepId,
        /// Everything a worker needs.
        spec: StepSpec,
    },
    /// Take a step out of the queue, or tell its worker to stop it.
    CancelStep {
        /// Which step. Its outcome is no longer waited for, except by a run that is [`crate::Status::Cancelling`].
        step: StepId,
    },
    /// Start a run of another workflow.
    StartChild {
        /// A new id within this run.
        child: ChildId,
        /// Namespace of the workflow.
        namespace: String,
        /// Its name.
        name: String,
        /// Its version, or `latest`.
        version: String,
        /// The child's raw input.
        input: Arc<Value>,
        /// Whether [`crate::Event::ChildFinished`] is wanted; a child that is not awaited outlives its parent.
        awaited: bool,
    },
    /// Cancel a child run.
    CancelChild {
        /// Which child.
        child: ChildId,
    },
    /// Send [`crate::Event::TimerFired`] at a time, or as soon after it as can be.
    SetTimer {
        /// A new id.
        timer: TimerId,
        /// When it is due.
        at: Timestamp,
    },
    /// Forget a timer that has not fired.
    ClearTimer {
        /// Which timer.
        timer: TimerId,
    },
    /// There is more to plan than fits a turn: send [`crate::Event::Continued`] after other runs had theirs.
    Yield,
    /// Something for the timeline.
    Note(TaskNote),
    /// The run has ended; nothing comes after it but a retry.
    Finish(RunOutcome),
}

/// A line of a run's timeline.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskNote {
    /// JSON pointer of the task in its document, such as `/do/1/query`.
    pub task: Arc<str>,
    /// The task's name.
    pub name: Arc<str>,
    /// What happened to it.
    pub phase: TaskPhase,
    /// Index of the innermost `for` iteration that it is part of, from 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub iteration: Option<u64>,
    /// The step that runs it, where a worker does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub step: Option<StepId>,
    /// When.
    pub at: Timestamp,
    /// A sentence for people: an error, a delay, a chosen case.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub detail: Option<String>,
}

/// What happened to a task. The names are the DSL's lifecycle events where it has one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskPhase {
    /// It begins.
    Started,
    /// It ended well.
    Completed,
    /// It ended with an error.
    Faulted,
    /// Its `if` said no.
    Skipped,
    /// Its error was caught, and it is tried again.
    Retried,
    /// It was told to stop before its end.
    Cancelled,
}
