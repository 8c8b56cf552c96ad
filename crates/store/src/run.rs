//! Runs as they are read: summaries, history, and what the driver needs to go on with one.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::{RunId, TimerId, Timestamp};

use crate::step::{Step, StepState};

/// Most rows of one page, of any kind; a larger wish is cut to it.
pub const MAX_PAGE_ROWS: usize = 10_000;

/// The status of a run, with the words of `planner::Status`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RunStatus {
    /// Accepted, not begun.
    Pending,
    /// On its way.
    Running,
    /// Waits for a time or an event.
    Waiting,
    /// Paused by a person.
    Suspended,
    /// Told to end; steps or child runs are still stopping.
    Cancelling,
    /// Ended as it should.
    Completed,
    /// Ended by an error.
    Faulted,
    /// Ended by a person or its parent.
    Cancelled,
}

impl RunStatus {
    /// All, in the order of a run's life.
    pub const ALL: [RunStatus; 8] = [
        RunStatus::Pending,
        RunStatus::Running,
        RunStatus::Waiting,
        RunStatus::Suspended,
        RunStatus::Cancelling,
        RunStatus::Completed,
        RunStatus::Faulted,
        RunStatus::Cancelled,
    ];

    /// Whether the run has ended.
    pub fn is_final(self) -> bool {
        matches!(self, RunStatus::Completed | RunStatus::Faulted | RunStatus::Cancelled)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            RunStatus::Pending => "pending",
            RunStatus::Running => "running",
            RunStatus::Waiting => "waiting",
            RunStatus::Suspended => "suspended",
            RunStatus::Cancelling => "cancelling",
            RunStatus::Completed => "completed",
            RunStatus::Faulted => "faulted",
            RunStatus::Cancelled => "cancelled",
        }
    }

    /// The status with this name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.name() == name)
    }
}

/// The run that started another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parent {
    /// The parent.
    pub run: RunId,
    /// The parent's number for this child.
    pub child: u32,
}

/// A run as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct RunSummary {
    /// The run.
    pub run: RunId,
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow.
    pub workflow_version: String,
    /// The client's labels.
    pub labels: BTreeMap<String, String>,
    /// Status.
    pub status: RunStatus,
    /// Count of events in the history.
    pub version: u64,
    /// The run that started it.
    pub parent: Option<Parent>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its summary last changed.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
}

/// The values of a run, JSON texts, which lists leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunValues {
    /// What the client gave.
    pub input: Bytes,
    /// What came out.
    pub output: Option<Bytes>,
    /// What went wrong.
    pub error: Option<Bytes>,
}

/// A run as people see it: everything of one moment.
#[derive(Clone, Debug, PartialEq)]
pub struct RunPage {
    /// What lists show.
    pub summary: RunSummary,
    /// Input, output and error.
    pub values: RunValues,
    /// Its first steps, in order.
    pub steps: Vec<Step>,
}

/// What became of a run that was to be deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Deleted {
    /// Nothing of it is left.
    Gone,
    /// It is not found any more; some of its rows are left for the next call.
    More,
    /// It is kept: it goes on, or something that goes on needs it.
    Kept,
}

/// Which runs are listed; an empty filter lists all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunFilter {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only of this workflow; needs `namespace`.
    pub workflow: Option<String>,
    /// Only with this status.
    pub status: Option<RunStatus>,
    /// Only those that carry this label.
    pub label: Option<(String, String)>,
    /// Only those started by this run.
    pub parent: Option<RunId>,
}

/// An entry of a run's history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Number, from 1.
    pub number: u64,
    /// When it was taken.
    pub at: Timestamp,
    /// The event, as the driver encoded it.
    pub event: Bytes,
    /// What the planner noted for people.
    pub notes: Bytes,
}

/// The planner's state at a version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The version of the run that it holds.
    pub version: u64,
    /// As the driver encoded it.
    pub state: Bytes,
}

/// A timer that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// When it is due.
    pub at: Timestamp,
    /// The run.
    pub run: RunId,
    /// The timer within the run.
    pub timer: TimerId,
}

/// Everything the driver needs to go on with a run.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedRun {
    /// What lists show; `summary.version` is the version to expect.
    pub summary: RunSummary,
    /// The last snapshot.
    pub snapshot: Option<Snapshot>,
    /// The events after the snapshot, or all.
    pub events: Vec<HistoryEntry>,
    /// Steps that are ready, leased or started.
    pub open_steps: Vec<Step>,
    /// Timers that are set.
    pub timers: Vec<Timer>,
}

/// How many runs and steps there are, by state; kept up by each commit, so that reading it costs the same at any size.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub(crate) runs: [u64; RunStatus::ALL.len()],
    pub(crate) steps: [u64; StepState::ALL.len()],
}

impl Counts {
    /// Runs with this status.
    pub fn runs(&self, status: RunStatus) -> u64 {
        self.runs[status as usize]
    }

    /// Steps in this state.
    pub fn steps(&self, state: StepState) -> u64 {
        self.steps[state as usize]
    }
}
