//! Which run is planned next: a mailbox per run, first come first served, and a bounded cache of runs that wait.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use protocol::id::RunId;
use tokio::sync::Notify;

use super::input::Input;
use super::live::LiveRun;

/// Inputs that wait for one run; a client's request beyond is refused.
pub(crate) const MAX_MAILBOX: usize = 4096;
/// Bytes that cached runs take, by estimate.
const CACHE_BYTES: usize = 512 << 20;

/// A run with inputs, taken by a planner.
pub(crate) struct Work {
    /// The run.
    pub(crate) run: RunId,
    /// Its inputs, at least one.
    pub(crate) inputs: VecDeque<Input>,
    /// The run, if it was cached.
    pub(crate) live: Option<Box<LiveRun>>,
    slow: bool,
}

/// The mailboxes.
pub(crate) struct Schedule {
    state: Mutex<State>,
    waiting: Notify,
    cached_runs: usize,
    slow_planners: usize,
}

struct State {
    runs: HashMap<RunId, Slot>,
    /// Runs with inputs, in order; those whose last turn was long wait apart.
    quick: VecDeque<RunId>,
    slow: VecDeque<RunId>,
    slow_busy: usize,
    /// Idle runs, the longest idle first. An entry counts if its stamp is the slot's.
    idle: VecDeque<(u64, RunId)>,
    stamps: u64,
    cached: usize,
    cached_bytes: usize,
}

struct Slot {
    inputs: VecDeque<Input>,
    phase: Phase,
    live: Option<Box<LiveRun>>,
    slow: bool,
    stamp: u64,
}

#[derive(PartialEq)]
enum Phase {
    Idle,
    Queued,
    /// With a planner or in a commit.
    Busy,
}

impl Schedule {
    /// A schedule that caches `cached_runs` idle runs and lets `slow_planners` planners at most take runs that were slow.
    pub(crate) fn new(cached_runs: usize, slow_planners: usize) -> Self {
        let state = State {
            runs: HashMap::new(),
            quick: VecDeque::new(),
            slow: VecDeque::new(),
            slow_busy: 0,
            idle: VecDeque::new(),
            stamps: 0,
            cached: 0,
            cached_bytes: 0,
        };
        Schedule { state: Mutex::new(state), waiting: Notify::new(), cached_runs, slow_planners }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an input in a run's mailbox.
    pub(crate) fn push(&self, run: RunId, input: Input) {
        if self.state().push(run, input) {
            self.waiting.notify_one();
        }
    }

    /// As [`Schedule::push`], but drops the input when the mailbox is full. Answers whether it was taken.
    pub(crate) fn try_push(&self, run: RunId, input: Input) -> bool {
        let mut state = self.state();
        if state.runs.get(&run).is_some_and(|slot| slot.inputs.len() >= MAX_MAILBOX) {
            return false;
        }
        let queued = state.push(run, input);
        drop(state);
        if queued {
            self.waiting.notify_one();
        }
        true
    }

    /// Waits for a run with inputs and takes it.
    pub(crate) async fn take(&self) -> Work {
        loop {
            let notified = self.waiting.notified();
            if let Some(work) = self.state().take(self.slow_planners) {
                return work;
            }
            notified.await;
        }
    }

    /// A planner has handed its turn on, or given up: another slow run may be taken.
    pub(crate) fn planned(&self, slow: bool) {
        if slow {
            let mut state = self.state();
            state.slow_busy -= 1;
            let more = !state.slow.is_empty();
            drop(state);
            if more {
                self.waiting.notify_one();
            }
        }
    }

    /// Gives a run back: its turn is committed (`live`), or is to be loaded again (`None`). `again` goes before what came
    /// in meanwhile.
    pub(crate) fn give_back(&self, run: RunId, live: Option<Box<LiveRun>>, again: VecDeque<Input>) {
        let mut state = self.state();
        let queued = state.give_back(run, live, again);
        state.evict(self.cached_runs);
        drop(state);
        if queued {
            self.waiting.notify_one();
        }
    }

    /// Runs in memory.
    pub(crate) fn cached(&self) -> usize {
        self.state().runs.len()
    }
}

impl Work {
    /// Whether it was taken as a slow run; to be given to [`Schedule::planned`].
    pub(crate) fn slow(&self) -> bool {
        self.slow
    }
}

impl State {
    fn push(&mut self, run: RunId, input: Input) -> bool {
        let slot = self.runs.entry(run).or_insert_with(Slot::empty);
        slot.inputs.push_back(input);
        if slot.phase != Phase::Idle {
            return false;
        }
        self.queue(run);
        true
    }

    fn queue(&mut self, run: RunId) {
        let slot = self.runs.get_mut(&run).expect("a run that is queued has a slot");
        slot.phase = Phase::Queued;
        if slot.slow { self.slow.push_back(run) } else { self.quick.push_back(run) }
    }

    fn take(&mut self, slow_planners: usize) -> Option<Work> {
        let (run, slow) = match self.quick.pop_front() {
            Some(run) => (run, false),
            None if self.slow_busy < slow_planners => (self.slow.pop_front()?, true),
            None => return None,
        };
        self.slow_busy += usize::from(slow);
        let slot = self.runs.get_mut(&run).expect("a queued run has a slot");
        slot.phase = Phase::Busy;
        let live = slot.live.take();
        if let Some(live) = &live {
            self.cached -= 1;
            self.cached_bytes -= live.weight;
        }
        Some(Work { run, inputs: std::mem::take(&mut slot.inputs), live, slow })
    }

    fn give_back(&mut self, run: RunId, live: Option<Box<LiveRun>>, mut again: VecDeque<Input>) -> bool {
        let slot = self.runs.get_mut(&run).expect("a busy run has a slot");
        again.append(&mut slot.inputs);
        slot.inputs = again;
        slot.phase = Phase::Idle;
        let ended = live.as_ref().is_some_and(|live| live.status.is_final());
        if slot.inputs.is_empty() && (live.is_none() || ended) {
            self.runs.remove(&run);
            return false;
        }
        if let Some(live) = live {
            slot.slow = live.slow;
            self.cached += 1;
            self.cached_bytes += live.weight;
            slot.live = Some(live);
        }
        if !slot.inputs.is_empty() {
            self.queue(run);
            return true;
        }
        self.stamps += 1;
        slot.stamp = self.stamps;
        self.idle.push_back((self.stamps, run));
        false
    }

    /// Drops the runs that are idle for longest until the cache fits; they are loaded again when something happens.
    fn evict(&mut self, cached_runs: usize) {
        while self.cached > cached_runs || self.cached_bytes > CACHE_BYTES {
            let Some((stamp, run)) = self.idle.pop_front() else { return };
            if self.is_idle(stamp, run)
                && let Some(live) = self.runs.remove(&run).and_then(|slot| slot.live)
            {
                self.cached -= 1;
                self.cached_bytes -= live.weight;
            }
        }
        // Entries of runs that went on since are dropped now and then, so that the list stays as long as the cache.
        if self.idle.len() > 2 * cached_runs + 64 {
            let mut idle = std::mem::take(&mut self.idle);
            idle.retain(|(stamp, run)| self.is_idle(*stamp, *run));
            self.idle = idle;
        }
    }

    fn is_idle(&self, stamp: u64, run: RunId) -> bool {
        self.runs.get(&run).is_some_and(|slot| slot.phase == Phase::Idle && slot.stamp == stamp)
    }
}

impl Slot {
    fn empty() -> Self {
        Slot { inputs: VecDeque::new(), phase: Phase::Idle, live: None, slow: false, stamp: 0 }
    }
}
