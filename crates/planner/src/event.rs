//! Events: everything that may happen to a run. Time and ids arrive inside them.

use std::fmt;

use protocol::id::{StepId, TimerId, Timestamp};
use protocol::step::StepOutcome;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::outcome::RunOutcome;

/// A run that a run has started (DSL `run: workflow`): 1, 2, 3, … within the parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ChildId(pub u32);

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What may happen to a run. The history of a run is the list of its events in the order in which they were applied.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Event {
    /// The run begins. It is the first event, and comes once.
    Started {
        /// The run's raw input.
        input: Value,
        /// When.
        at: Timestamp,
    },
    /// A step has ended: the outcome of its last attempt.
    StepFinished {
        /// Which step.
        step: StepId,
        /// How it ended.
        outcome: StepOutcome,
        /// When.
        at: Timestamp,
    },
    /// A child run has ended.
    ChildFinished {
        /// Which child.
        child: ChildId,
        /// How it ended.
        outcome: RunOutcome,
        /// When.
        at: Timestamp,
    },
    /// A timer is due.
    TimerFired {
        /// Which timer.
        timer: TimerId,
        /// When it fired: not before it was due.
        at: Timestamp,
    },
    /// Someone wants the run to end. Running steps are told to stop.
    CancelRequested {
        /// Why, for the timeline.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// Nothing new may start until [`Event::ResumeRequested`].
    SuspendRequested {
        /// When.
        at: Timestamp,
    },
    /// A suspended run goes on.
    ResumeRequested {
        /// When.
        at: Timestamp,
    },
    /// A faulted run goes on from the task that failed.
    RetryRequested {
        /// When.
        at: Timestamp,
    },
    /// The answer to [`crate::Action::Yield`].
    Continued {
        /// When.
        at: Timestamp,
    },
}

impl Event {
    /// When it happened.
    pub fn at(&self) -> Timestamp {
        match self {
            Event::Started { at, .. }
            | Event::StepFinished { at, .. }
            | Event::ChildFinished { at, .. }
            | Event::TimerFired { at, .. }
            | Event::CancelRequested { at, .. }
            | Event::SuspendRequested { at }
            | Event::ResumeRequested { at }
            | Event::RetryRequested { at }
            | Event::Continued { at } => *at,
        }
    }

    /// Its name, as history and problems show it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Started { .. } => "started",
            Event::StepFinished { .. } => "step-finished",
            Event::ChildFinished { .. } => "child-finished",
            Event::TimerFired { .. } => "timer-fired",
            Event::CancelRequested { .. } => "cancel-requested",
            Event::SuspendRequested { .. } => "suspend-requested",
            Event::ResumeRequested { .. } => "resume-requested",
            Event::RetryRequested { .. } => "retry-requested",
            Event::Continued { .. } => "continued",
        }
    }
}
