//! What a run remembers between events: a tree of frames, what is open, and what is still to be done.
//!
//! The state holds what is in progress and nothing of what is past: it does not grow with iterations or steps done.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use protocol::id::{StepId, TimerId, Timestamp};
use serde::{Deserialize, Serialize};
use workflow::{Task, TaskKind};

use crate::event::ChildId;
use crate::outcome::RunError;
use crate::path::Path;
use crate::task::for_::ForState;
use crate::task::fork::ForkState;
use crate::task::list::ListState;
use crate::task::try_::TryState;
use crate::value::Shared;

/// A frame within its run; a child's is greater than its parent's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct FrameId(pub(crate) u64);

/// The whole state of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) phase: Phase,
    pub(crate) started_at: Timestamp,
    /// The run's raw input.
    pub(crate) input: Shared,
    /// `$context`.
    pub(crate) context: Shared,
    /// The tasks and lists in progress. The root is the list of the workflow.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) frames: BTreeMap<FrameId, Frame>,
    /// What is to be done next, first in first out, so that branches take turns.
    #[serde(skip_serializing_if = "VecDeque::is_empty", default)]
    pub(crate) agenda: VecDeque<Todo>,
    /// Steps whose outcome a frame waits for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) steps: BTreeMap<StepId, FrameId>,
    /// Steps whose outcome nobody waits for (`await: false`).
    #[serde(skip_serializing_if = "BTreeSet::is_empty", default)]
    pub(crate) detached: BTreeSet<StepId>,
    /// Child runs whose outcome a frame waits for.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) children: BTreeMap<ChildId, FrameId>,
    /// Timers that are set.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub(crate) timers: BTreeMap<TimerId, Timer>,
    /// Tasks begun since something was awaited or decided last.
    #[serde(skip_serializing_if = "is_zero", default)]
    pub(crate) tasks_without_wait: u32,
    /// Whether a yield has not been answered.
    pub(crate) yielded: bool,
    /// Ids given out so far.
    pub(crate) given: Given,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// Counters of ids.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Given {
    pub(crate) frames: u64,
    pub(crate) steps: u32,
    pub(crate) children: u32,
    pub(crate) timers: u32,
}

/// Where the run stands, in the sense of what an event may do to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Phase {
    Pending,
    Active,
    Suspended,
    Cancelling { reason: String },
    Completed,
    Faulted,
    Cancelled,
}

/// A task or a list of tasks in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Frame {
    /// Absent for the root alone.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) parent: Option<FrameId>,
    /// Place of the task; of a list, the place of the task that it belongs to.
    pub(crate) path: Path,
    /// Tasks around it.
    pub(crate) depth: u32,
    /// Input before `input.from`.
    pub(crate) raw_input: Shared,
    /// Input after `input.from`: `$input`. The raw input until then.
    pub(crate) input: Shared,
    /// When the task began.
    pub(crate) started_at: Timestamp,
    /// Milliseconds of its `timeout`.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(crate) timeout_ms: Option<i64>,
    /// What it is doing.
    pub(crate) work: Work,
}

/// What a frame is doing. A kind of task that ends as soon as it begins has no variant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Work {
    /// A task that has not begun, or is to begin again.
    New,
    /// A list of tasks, one after the other.
    List(ListState),
    /// `do`: its list runs.
    Do,
    /// `for`: the list of one iteration runs.
    For(ForState),
    /// `fork`: branches run.
    Fork(ForkState),
    /// `try`: tasks run, or a retry is awaited, or errors are handled.
    Try(TryState),
    /// `wait`: a timer runs.
    Wait,
    /// A step is open.
    Step(StepId),
    /// A child run is open.
    Child(ChildId),
    /// `call` of a function: its task runs.
    Function,
}

impl Work {
    /// Whether a task of this kind can be doing this.
    pub(crate) fn fits(&self, task: &Task) -> bool {
        match (self, &task.kind) {
            (Work::New, _)
            | (Work::Do, TaskKind::Do(_))
            | (Work::For(_), TaskKind::For(_))
            | (Work::Fork(_), TaskKind::Fork(_))
            | (Work::Try(_), TaskKind::Try(_))
            | (Work::Wait, TaskKind::Wait(_))
            | (Work::Step(_), TaskKind::Call(_) | TaskKind::Run(_))
            | (Work::Child(_), TaskKind::Run(_))
            | (Work::Function, TaskKind::Call(_)) => true,
            (
                Work::List(_)
                | Work::Do
                | Work::For(_)
                | Work::Fork(_)
                | Work::Try(_)
                | Work::Wait
                | Work::Step(_)
                | Work::Child(_)
                | Work::Function,
                _,
            ) => false,
        }
    }
}

/// Something to be done when the run is active. What names a frame that is gone is void.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Todo {
    /// Begin a task or list.
    Begin(FrameId),
    /// The raw output of a task has come; of the root, the output of its last task.
    Finish(FrameId, Shared),
    /// A task has failed.
    Fault(FrameId, RunError),
    /// A timer is due.
    Due(Timer),
}

impl Todo {
    pub(crate) fn frame(&self) -> FrameId {
        match self {
            Todo::Begin(frame) | Todo::Finish(frame, _) | Todo::Fault(frame, _) => *frame,
            Todo::Due(timer) => timer.frame,
        }
    }
}

/// A timer that is set: whose it is and what for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Timer {
    pub(crate) frame: FrameId,
    pub(crate) purpose: Purpose,
}

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// `timeout` of the task, or of the workflow.
    Timeout,
    /// The end of a `wait`.
    Wait,
    /// The end of the delay before a retry.
    Retry,
    /// `limit.attempt.duration` of a retry policy.
    Attempt { number: u32 },
    /// The end of the patience with steps that do not stop.
    Grace,
}

impl State {
    /// The id of the root list.
    pub(crate) const ROOT: FrameId = FrameId(0);

    pub(crate) fn new() -> State {
        State {
            phase: Phase::Pending,
            started_at: Timestamp::default(),
            input: Shared::null(),
            context: Shared::null(),
            frames: BTreeMap::new(),
            agenda: VecDeque::new(),
            steps: BTreeMap::new(),
            detached: BTreeSet::new(),
            children: BTreeMap::new(),
            timers: BTreeMap::new(),
            tasks_without_wait: 0,
            yielded: false,
            given: Given::default(),
        }
    }

    /// A frame that must be there: whoever asks has been named by a living frame or has checked.
    pub(crate) fn frame(&self, id: FrameId) -> &Frame {
        self.frames.get(&id).expect("a frame in progress")
    }

    pub(crate) fn frame_mut(&mut self, id: FrameId) -> &mut Frame {
        self.frames.get_mut(&id).expect("a frame in progress")
    }

    /// Index of the innermost `for` iteration around a frame, from 0.
    pub(crate) fn iteration(&self, id: FrameId) -> Option<u64> {
        self.ancestors(id).find_map(|(_, frame)| match &frame.work {
            Work::For(state) => Some(state.index()),
            _ => None,
        })
    }

    /// The frames around a frame, innermost first, without itself.
    pub(crate) fn ancestors(&self, id: FrameId) -> impl Iterator<Item = (FrameId, &Frame)> {
        let mut next = self.frame(id).parent;
        std::iter::from_fn(move || {
            let id = next?;
            let frame = self.frame(id);
            next = frame.parent;
            Some((id, frame))
        })
    }
}
