//! The committer: the one task that writes what runs do. It takes all that has come meanwhile, matches ready steps with
//! free workers, stores everything in one transaction, and then acts. The batch grows with the load; an idle server
//! commits at once.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use protocol::id::{AttemptId, RunId, TimerId};
use store::{MAX_PAGE_ROWS, ReadyStep, RunFilter, RunStatus, StoreError, Turn, TurnOutcome};
use tokio::sync::mpsc;

use super::batch::Batch;
use super::input::Started;
use super::live::LiveRun;
use super::planned::PlannedTurn;
use crate::core::Core;
use crate::dispatch::board::Board;
use crate::dispatch::queue::{CONTINUING, Entry, REFILL_ROWS, Refill, RunMeta, StepKey};
use crate::workers::link::{Outgoing, WorkerLink, WorkerName};

/// Messages that wait for the committer; who sends more waits.
pub(crate) const MAX_QUEUED: usize = 8192;
/// Turns after which a batch takes no further message. One message adds at most a run and its open children.
const BATCH_TURNS: usize = 2048;
/// Waits after failed commits: doubled from the first to the last.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));

/// What the committer is told.
pub(crate) enum ToCommitter {
    /// A run has planned a turn.
    Turn(Box<PlannedTurn>),
    /// A change that nobody waits for.
    Lone(Turn),
    /// A timer of a run that cannot be loaded is set anew.
    Postpone(Turn, TimerId),
    /// A worker has opened a stream.
    Connect(Box<Connect>),
    /// A stream has ended.
    Disconnect(Arc<WorkerLink>),
    /// A worker takes more steps.
    Credit(Arc<WorkerLink>, u32),
    /// A step has begun.
    Started {
        /// The attempt.
        attempt: AttemptId,
        /// When and where.
        started: Started,
    },
    /// A worker was silent for too long.
    Expired(WorkerName),
    /// A worker has lost one step, and says so.
    Lost(AttemptId, Arc<WorkerLink>),
    /// A worker is to take no more steps, or to take them again.
    Drain {
        /// The worker.
        worker: WorkerName,
        /// Whether it drains.
        draining: bool,
    },
    /// A page of ready steps was read.
    Refilled(Refill, Result<Vec<ReadyStep>, StoreError>),
    /// Ready steps are to be looked for in the store.
    Rescan,
}

/// A worker that has come.
pub(crate) struct Connect {
    /// Its stream.
    pub(crate) link: Arc<WorkerLink>,
    /// Leases it says it holds.
    pub(crate) held: Vec<AttemptId>,
    /// Whether it is to take no steps.
    pub(crate) draining: bool,
}

/// The committer's state.
pub(crate) struct Committer {
    pub(crate) core: Arc<Core>,
    pub(crate) board: Board,
    /// Whether a step became ready that is only in the store.
    pub(crate) rescan: bool,
    /// Whether a step came back on the board after the batch's matching.
    pub(crate) again: bool,
    /// Runs whose ready steps stay in the store until they are resumed.
    pub(crate) suspended: HashSet<RunId>,
    backlog: VecDeque<ToCommitter>,
    backoff: Duration,
}

/// What became of a turn.
#[derive(Clone, Debug)]
pub(crate) enum Outcome {
    /// It is stored; the run's version.
    Committed(u64),
    /// The same request was stored before.
    Repeated(RunId),
    /// It does not fit what is stored.
    Refused(store::Refusal),
    /// The store failed; it may be tried again.
    Failed(String),
    /// The store will never take it.
    Invalid(String),
}

/// Commits for ever.
pub(crate) async fn run(core: Arc<Core>, mut messages: mpsc::Receiver<ToCommitter>, window: usize) {
    let (board, backlog) = (Board::new(window), VecDeque::new());
    let suspended = suspended_runs(&core).await;
    let mut committer =
        Committer { core, board, rescan: false, again: false, suspended, backlog, backoff: BACKOFF.0 };
    let mut come = Vec::new();
    loop {
        let busy = !committer.backlog.is_empty() || std::mem::take(&mut committer.again);
        if !busy && messages.recv_many(&mut come, BATCH_TURNS).await == 0 {
            return;
        }
        committer.backlog.extend(come.drain(..));
        committer.cycle().await;
    }
}

/// The runs that are suspended when the server starts.
async fn suspended_runs(core: &Core) -> HashSet<RunId> {
    let filter = RunFilter { status: Some(RunStatus::Suspended), ..RunFilter::default() };
    let (mut suspended, mut before) = (HashSet::new(), None);
    loop {
        match core.store.runs(&filter, before, MAX_PAGE_ROWS).await {
            Ok(page) => {
                before = page.last().map(|run| run.run);
                let last = page.len() < MAX_PAGE_ROWS;
                suspended.extend(page.into_iter().map(|run| run.run));
                if last {
                    return suspended;
                }
            }
            Err(error) => {
                tracing::warn!(%error, "failed to read which runs are suspended; trying again");
                tokio::time::sleep(BACKOFF.1).await;
            }
        }
    }
}

impl Committer {
    async fn cycle(&mut self) {
        let mut batch = Batch::default();
        let mut planned = Vec::new();
        let mut size = 0;
        while size < BATCH_TURNS
            && let Some(message) = self.backlog.pop_front()
        {
            match message {
                ToCommitter::Turn(turn) => {
                    size += 1 + turn.others.len();
                    planned.push(turn);
                }
                other => {
                    self.take(&mut batch, other).await;
                    size = batch.len() + planned.len();
                }
            }
        }
        // Steps become ready only now: a worker that has just come was matched with what the store had before.
        for turn in planned {
            batch.add_planned(&mut self.board, turn);
        }
        batch.add_matches(&mut self.board, self.core.clock.now());
        let outcomes = self.commit(&mut batch).await;
        self.settle(batch, outcomes);
        if std::mem::take(&mut self.rescan) {
            self.rescan().await;
        }
        self.refill();
        let metrics = &self.core.metrics;
        metrics.steps_ready.set(self.board.queue().len() as u64);
        metrics.steps_in_flight.set(self.core.leases.len() as u64);
        metrics.workers_connected.set(self.board.workers() as u64);
    }

    /// Ready steps of a suspended run are not handed out.
    pub(crate) fn note_suspension(&mut self, live: &LiveRun) {
        let run = live.run.info().id;
        if live.status == RunStatus::Suspended {
            self.suspended.insert(run);
            for step in live.open.keys() {
                self.board.queue().remove((run, *step));
            }
        } else if self.suspended.remove(&run) {
            self.rescan = true;
        }
    }

    async fn take(&mut self, batch: &mut Batch, message: ToCommitter) {
        match message {
            ToCommitter::Turn(_) => unreachable!("turns are kept apart"),
            ToCommitter::Lone(turn) => batch.add_lone(turn),
            ToCommitter::Postpone(turn, timer) => batch.add_postponed(turn, timer),
            ToCommitter::Connect(connect) => self.connect(batch, *connect).await,
            ToCommitter::Disconnect(link) => self.board.disconnect(&link),
            ToCommitter::Credit(link, credit) => self.board.add_credit(&link, credit),
            ToCommitter::Started { attempt, started } => {
                if self.core.leases.is_open(attempt) {
                    batch.add_started(attempt, started);
                }
            }
            ToCommitter::Expired(worker) => self.expire(batch, &worker).await,
            ToCommitter::Lost(attempt, link) => self.lose(batch, attempt, Some(&link)),
            ToCommitter::Drain { worker, draining } => {
                self.board.set_draining(&worker, draining);
                if draining && let Some(link) = self.board.link(&worker) {
                    link.send(Outgoing::Drain);
                }
            }
            ToCommitter::Refilled(refill, page) => self.refilled(&refill, page),
            ToCommitter::Rescan => self.rescan = true,
        }
    }

    /// Reads the queue again from its start, with classes that were not known to have ready steps.
    async fn rescan(&mut self) {
        match self.core.store.ready_classes().await {
            Ok(classes) => {
                self.board.open(&classes);
                self.board.queue().rescan();
            }
            Err(error) => {
                tracing::warn!(%error, "failed to look for ready steps; trying again");
                let committer = self.core.committer.clone();
                tokio::spawn(async move {
                    tokio::time::sleep(BACKOFF.1).await;
                    let _ = committer.send(ToCommitter::Rescan).await;
                });
            }
        }
    }

    /// Stores the batch. A turn that the store calls invalid does not take the others with it.
    async fn commit(&mut self, batch: &mut Batch) -> Vec<Outcome> {
        let turns = std::mem::take(&mut batch.turns);
        if turns.is_empty() {
            return Vec::new();
        }
        let begin = Instant::now();
        let count = turns.len();
        let again = (count > 1).then(|| turns.clone());
        let metrics = Arc::clone(&self.core.metrics);
        metrics.commit_turns.observe(count as u64);
        let result = self.core.store.commit(turns).await;
        metrics.commit_microseconds.observe_duration(begin.elapsed());
        match (result, again) {
            (Ok(outcomes), _) => {
                self.well();
                outcomes.into_iter().map(Outcome::from).collect()
            }
            (Err(StoreError::Invalid(_)), Some(turns)) => {
                let mut outcomes = Vec::with_capacity(count);
                for turn in turns {
                    let result = self.core.store.commit(vec![turn]).await;
                    outcomes.push(match result {
                        Ok(mut one) => one.pop().map_or_else(
                            || Outcome::Failed("the store gave no answer".to_owned()),
                            Outcome::from,
                        ),
                        Err(StoreError::Invalid(reason)) => Outcome::Invalid(reason),
                        Err(error) => self.ill(&error).await,
                    });
                }
                outcomes
            }
            (Err(StoreError::Invalid(reason)), None) => vec![Outcome::Invalid(reason)],
            (Err(error), _) => {
                let failed = self.ill(&error).await;
                vec![failed; count]
            }
        }
    }

    fn well(&mut self) {
        self.core.metrics.commits.add(1);
        self.backoff = BACKOFF.0;
        if self.core.health.well() {
            tracing::info!("the store takes commits again");
        }
    }

    async fn ill(&mut self, error: &StoreError) -> Outcome {
        let reason = chain(error);
        self.core.metrics.commits_failed.add(1);
        tracing::error!(error = %reason, "failed to commit; runs go on from what is stored");
        self.core.health.ill(reason.clone());
        tokio::time::sleep(self.backoff).await;
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
        Outcome::Failed(reason)
    }

    /// Asks for pages of ready steps where the window has room.
    fn refill(&mut self) {
        for refill in self.board.queue().wanted_refills() {
            let core = Arc::clone(&self.core);
            tokio::spawn(async move {
                let page = core.store.ready_steps(&refill.class, Some(refill.after), REFILL_ROWS).await;
                let _ = core.committer.send(ToCommitter::Refilled(refill, page)).await;
            });
        }
    }

    fn refilled(&mut self, refill: &Refill, page: Result<Vec<ReadyStep>, StoreError>) {
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "failed to read ready steps; trying again");
                self.board.queue().refill_failed(refill);
                return;
            }
        };
        let mut last = page.len() < REFILL_ROWS;
        let mut entries = Vec::with_capacity(page.len());
        for step in page {
            // The page goes on with the lower priority, which is another lane.
            if (step.place.priority >= CONTINUING) != (refill.priority >= CONTINUING) {
                last = true;
                break;
            }
            entries.push(entry_of(step, &refill.class));
        }
        let held: Vec<StepKey> =
            entries.iter().map(|entry| entry.key).filter(|(run, _)| self.suspended.contains(run)).collect();
        // With all of them, since the last one's place says how far the page went.
        self.board.queue().refilled(refill, entries, last);
        for key in held {
            self.board.queue().remove(key);
        }
    }
}

fn entry_of(step: ReadyStep, class: &Arc<str>) -> Entry {
    // The task is only for people; a spec that cannot be read is the worker's to refuse.
    #[derive(serde::Deserialize)]
    struct Task {
        task: String,
    }
    let task = serde_json::from_slice::<Task>(&step.spec).map(|spec| spec.task).unwrap_or_default();
    Entry {
        key: (step.place.run, step.place.step),
        attempt: step.attempt,
        class: Arc::clone(class),
        priority: step.place.priority,
        ready_at: step.place.at,
        task: task.into(),
        mode: step.mode,
        spec: step.spec,
        meta: Arc::new(RunMeta {
            namespace: step.namespace.into(),
            workflow: step.workflow,
            version: step.workflow_version,
        }),
    }
}

impl From<TurnOutcome> for Outcome {
    fn from(outcome: TurnOutcome) -> Self {
        match outcome {
            TurnOutcome::Committed { version } => Outcome::Committed(version),
            TurnOutcome::Repeated { run } => Outcome::Repeated(run),
            TurnOutcome::Refused(refusal) => Outcome::Refused(refusal),
        }
    }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}
