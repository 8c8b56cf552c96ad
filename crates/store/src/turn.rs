//! Turns: what the driver stores for one run in one go. A batch of turns is one durable transaction.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::{RunId, StepId, TimerId, Timestamp};
use protocol::step::{Artifact, Mode};

use crate::error::Refusal;
use crate::run::{Parent, RunStatus};
use crate::step::StepState;

/// Most turns of one [`crate::Store::commit`].
pub const MAX_COMMIT_TURNS: usize = 4096;

/// One step forward of one run: all of it is stored, or none.
///
/// Its step changes are applied in order, so that "step 1 finished, step 2 ready, step 2 leased" is one turn.
#[derive(Clone, Debug, PartialEq)]
pub struct Turn {
    /// The run.
    pub run: RunId,
    /// Version the run must have (the count of its events); `None` takes any, for changes that append no event.
    pub expected_version: Option<u64>,
    /// Makes the run; `expected_version` must then be absent.
    pub create: Option<NewRun>,
    /// Appended to the history, numbered on from the run's version: the first event of a run has number 1.
    pub events: Vec<EncodedEvent>,
    /// The planner's state after `events`; replaces the last snapshot.
    pub snapshot: Option<Bytes>,
    /// Change of what lists show.
    pub summary: Option<SummaryChange>,
    /// Changes of steps, in order.
    pub steps: Vec<StepChange>,
    /// Changes of timers, in order.
    pub timers: Vec<TimerChange>,
}

impl Turn {
    /// A turn that changes nothing yet.
    pub fn of(run: RunId) -> Self {
        Turn {
            run,
            expected_version: None,
            create: None,
            events: Vec::new(),
            snapshot: None,
            summary: None,
            steps: Vec::new(),
            timers: Vec::new(),
        }
    }
}

/// What became of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnOutcome {
    /// Stored durably.
    Committed {
        /// The run's version now.
        version: u64,
    },
    /// The idempotency key is known with the same request: nothing was stored, `run` is the run it made.
    Repeated {
        /// The run made then.
        run: RunId,
    },
    /// Not stored.
    Refused(Refusal),
}

/// A run as it is made. Its status is [`RunStatus::Pending`] unless the turn's summary says more.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRun {
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow.
    pub version: String,
    /// What the client labelled the run with.
    pub labels: BTreeMap<String, String>,
    /// The run's input, JSON text.
    pub input: Bytes,
    /// The run that started this one.
    pub parent: Option<Parent>,
    /// Makes the creation repeatable.
    pub idempotency: Option<Idempotency>,
    /// When it was made.
    pub at: Timestamp,
}

/// A client's key for a request that it may send again. Keys are unique within a namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The client's key.
    pub key: String,
    /// SHA-256 of everything the request says (workflow, version, input, labels), to tell a repetition from a mistake.
    pub request_sha256: [u8; 32],
}

/// An event of a run's history, encoded by the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EncodedEvent {
    /// When it was taken.
    pub at: Timestamp,
    /// The event.
    pub event: Bytes,
    /// What the planner noted for people; empty for none.
    pub notes: Bytes,
}

/// What lists and `runs show` say of a run from now on. It replaces all that was said before: a faulted run that is
/// retried has no error and no end any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SummaryChange {
    /// Status.
    pub status: RunStatus,
    /// The run's output, JSON text.
    pub output: Option<Bytes>,
    /// The run's error, JSON text.
    pub error: Option<Bytes>,
    /// When it changed.
    pub updated_at: Timestamp,
    /// When the run ended.
    pub finished_at: Option<Timestamp>,
}

/// A change of one step. Each but `Ready` and `Cancelled` names an attempt and is refused as stale if the step has gone on.
#[derive(Clone, Debug, PartialEq)]
pub enum StepChange {
    /// A new step waits for a worker.
    Ready(NewStep),
    /// A worker gets the step: ready → leased, and the step's attempt becomes `attempt`, which must be one more.
    Leased {
        /// The step.
        step: StepId,
        /// Counts from 1.
        attempt: u32,
        /// Name of the worker.
        worker: String,
        /// When.
        at: Timestamp,
    },
    /// The worker has begun: leased → started.
    Started {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
        /// Sandbox backend and id, where there is one.
        sandbox: Option<String>,
    },
    /// The attempt was the step's last: leased or started → `state`, which is a final one.
    Finished {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// Completed, failed or cancelled.
        state: StepState,
        /// When.
        at: Timestamp,
        /// Files that came back.
        artifacts: Vec<Artifact>,
        /// What went wrong, JSON text; shown in lists.
        error: Option<Bytes>,
    },
    /// The attempt is over without a result (its worker is gone): leased or started → ready.
    Released {
        /// The step.
        step: StepId,
        /// The attempt.
        attempt: u32,
        /// When.
        at: Timestamp,
    },
    /// The step is not wanted any more: ready, leased or started → cancelled; a final state stays as it is.
    Cancelled {
        /// The step.
        step: StepId,
        /// When.
        at: Timestamp,
    },
}

/// A step as the planner asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewStep {
    /// Number within the run.
    pub step: StepId,
    /// JSON pointer of the task in its document.
    pub task: String,
    /// Name of the task.
    pub name: String,
    /// Where it runs.
    pub mode: Mode,
    /// What a worker must offer, as a key made by the dispatcher: steps of one class fit the same workers.
    pub class: String,
    /// Steps of a higher priority are offered first within their class.
    pub priority: i32,
    /// JSON of `protocol::step::StepSpec`.
    pub spec: Bytes,
    /// When it became ready.
    pub at: Timestamp,
}

/// A change of one timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerChange {
    /// The timer is due at `at`; replaces what it was set to.
    Set {
        /// The timer.
        timer: TimerId,
        /// When it is due.
        at: Timestamp,
    },
    /// The timer has fired or is not wanted any more; unknown ones are ignored.
    Clear {
        /// The timer.
        timer: TimerId,
    },
}
