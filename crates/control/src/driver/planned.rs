//! A planned turn: what the planner made of a run's events, as changes for the store and as what is to be done once they are
//! stored.

use std::collections::VecDeque;

use bytes::Bytes;
use planner::{Event, Rejected, RunOutcome, TaskNote};
use protocol::id::{RunId, StepId, TimerId, Timestamp};
use protocol::step::StepOutcome;
use store::{StepChange, StepState, Turn};

use super::input::{CreationReply, Input, Origin};
use super::live::{LiveRun, OpenStep};
use crate::dispatch::queue::Entry;
use crate::workers::link::WorkerName;

/// A turn that waits for its commit, with what is to be done then.
pub(crate) struct PlannedTurn {
    /// The run after the turn.
    pub(crate) live: Box<LiveRun>,
    /// The turn; it may change nothing.
    pub(crate) turn: Turn,
    /// Turns of other runs that belong to it: children made, alarms set and cleared.
    pub(crate) others: Vec<Turn>,
    /// Steps that became ready.
    pub(crate) ready: Vec<Entry>,
    /// Steps that are not wanted any more.
    pub(crate) cancelled: Vec<(StepId, OpenStep)>,
    /// Steps that have ended.
    pub(crate) finished: Vec<FinishedStep>,
    /// Children to start.
    pub(crate) children: Vec<RunId>,
    /// Children to cancel.
    pub(crate) cancelled_children: Vec<RunId>,
    /// Events with their origins and whether the planner took them.
    pub(crate) told: Vec<Told>,
    /// Who waits for the new run.
    pub(crate) creation: Option<CreationReply>,
    /// When the turn was planned to its end.
    pub(crate) closed_at: Timestamp,
    /// Whether the run has yielded.
    pub(crate) go_on: bool,
    /// How the run has ended.
    pub(crate) outcome: Option<RunOutcome>,
    /// What the planner noted for people.
    pub(crate) notes: Vec<TaskNote>,
    /// When the earliest timer that was set is due.
    pub(crate) earliest_timer: Option<Timestamp>,
    /// Whether the status changed.
    pub(crate) status_changed: bool,
    /// Inputs that the turn had no time for.
    pub(crate) later: VecDeque<Input>,
    /// Timers that the turn clears.
    pub(crate) cleared_timers: Vec<TimerId>,
    /// Whether the turn makes the run.
    pub(crate) created: bool,
    /// The idempotency key that the run is made with.
    pub(crate) key: Option<String>,
}

/// A step whose last attempt has ended.
pub(crate) struct FinishedStep {
    pub(crate) step: StepId,
    pub(crate) attempt: u32,
    pub(crate) state: StepState,
    pub(crate) open: OpenStep,
    pub(crate) worker: Option<WorkerName>,
    pub(crate) note: Option<String>,
}

/// An event of the turn.
pub(crate) struct Told {
    pub(crate) event: Event,
    pub(crate) origin: Origin,
    pub(crate) verdict: Result<(), Rejected>,
}

impl PlannedTurn {
    pub(crate) fn of(live: Box<LiveRun>) -> Self {
        let mut turn = Turn::of(live.run.info().id);
        turn.expected_version = Some(live.version);
        PlannedTurn {
            live,
            turn,
            others: Vec::new(),
            ready: Vec::new(),
            cancelled: Vec::new(),
            finished: Vec::new(),
            children: Vec::new(),
            cancelled_children: Vec::new(),
            told: Vec::new(),
            creation: None,
            closed_at: Timestamp(0),
            go_on: false,
            outcome: None,
            notes: Vec::new(),
            earliest_timer: None,
            status_changed: false,
            later: VecDeque::new(),
            cleared_timers: Vec::new(),
            created: false,
            key: None,
        }
    }

    /// Whether there is nothing to store.
    pub(crate) fn is_empty(&self) -> bool {
        let turn = &self.turn;
        turn.create.is_none()
            && turn.events.is_empty()
            && turn.steps.is_empty()
            && turn.timers.is_empty()
            && self.others.is_empty()
    }
}

impl PlannedTurn {
    /// The last attempt of a step has ended.
    pub(crate) fn end_step(
        &mut self,
        step: StepId,
        attempt: u32,
        outcome: &StepOutcome,
        at: Timestamp,
        worker: Option<WorkerName>,
    ) {
        // A step that an earlier event of this turn cancelled has ended in the store already.
        let Some(open) = self.live.open.remove(&step) else { return };
        self.live.begun = true;
        let (state, artifacts, error, note) = match outcome {
            StepOutcome::Completed { artifacts, .. } => (StepState::Completed, artifacts.clone(), None, None),
            StepOutcome::Failed { error } => {
                let words = if error.detail.is_empty() { &error.title } else { &error.detail };
                (StepState::Failed, Vec::new(), Some(json(error)), Some(words.clone()))
            }
            StepOutcome::Cancelled => (StepState::Cancelled, Vec::new(), None, None),
        };
        self.turn.steps.push(StepChange::Finished { step, attempt, state, at, artifacts, error });
        self.finished.push(FinishedStep { step, attempt, state, open, worker, note });
    }
}

/// JSON text of a value.
pub(crate) fn json<T: serde::Serialize + ?Sized>(value: &T) -> Bytes {
    serde_json::to_vec(value).expect("the planner's types are JSON").into()
}
