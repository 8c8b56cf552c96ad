//! A batch: the turns of one commit, each with what it is for.

use std::collections::HashMap;
use std::sync::Arc;

use protocol::id::{AttemptId, RunId, TimerId, Timestamp};
use store::{StepChange, Turn};

use super::input::Started;
use super::planned::PlannedTurn;
use crate::dispatch::board::{Board, Match};
use crate::dispatch::leases::Lease;
use crate::dispatch::queue::StepKey;
use crate::workers::link::WorkerLink;

/// The turns of one commit.
#[derive(Default)]
pub(crate) struct Batch {
    /// The turns, in order.
    pub(crate) turns: Vec<Turn>,
    /// What each turn is for, in the same order.
    pub(crate) purposes: Vec<Purpose>,
    /// Steps that are leased in a turn of their run, by the turn's index.
    pub(crate) leased: Vec<(usize, Match)>,
    /// Turns that change nothing: they are settled without the store.
    pub(crate) unchanged: Vec<PlannedTurn>,
    /// New ready steps, by the turn that makes them.
    fresh: HashMap<StepKey, usize>,
}

/// What a turn is for.
pub(crate) enum Purpose {
    /// A run goes on.
    Planned(Box<PlannedTurn>),
    /// A change of another run, which belongs to a planned turn, or that nobody waits for.
    Other,
    /// A step that was ready before is leased.
    Lease(Match),
    /// A timer of a run that cannot be loaded is set anew.
    Postponed(RunId, TimerId),
    /// A step of a lost worker becomes ready again.
    Release(Box<Release>),
}

/// A lease that is taken from its worker.
pub(crate) struct Release {
    /// The attempt.
    pub(crate) attempt: AttemptId,
    /// The lease, if it was made or adopted by this server.
    pub(crate) lease: Option<Lease>,
    /// The stream that the release makes room for: it is closed if the release fails.
    pub(crate) link: Option<Arc<WorkerLink>>,
}

impl Batch {
    /// Turns in the batch.
    pub(crate) fn len(&self) -> usize {
        self.turns.len()
    }

    fn add(&mut self, turn: Turn, purpose: Purpose) {
        self.turns.push(turn);
        self.purposes.push(purpose);
    }

    /// A change that nobody waits for.
    pub(crate) fn add_lone(&mut self, turn: Turn) {
        self.add(turn, Purpose::Other);
    }

    /// A timer of a run that cannot be loaded is set anew.
    pub(crate) fn add_postponed(&mut self, turn: Turn, timer: TimerId) {
        let run = turn.run;
        self.add(turn, Purpose::Postponed(run, timer));
    }

    /// A step's work has begun.
    pub(crate) fn add_started(&mut self, attempt: AttemptId, started: Started) {
        let Started { at, sandbox } = started;
        let AttemptId { run, step, attempt } = attempt;
        let mut turn = Turn::of(run);
        turn.steps.push(StepChange::Started { step, attempt, at, sandbox });
        self.add(turn, Purpose::Other);
    }

    /// A lease is taken from its worker.
    pub(crate) fn add_release(&mut self, release: Release, at: Timestamp) {
        let AttemptId { run, step, attempt } = release.attempt;
        let mut turn = Turn::of(run);
        turn.steps.push(StepChange::Released { step, attempt, at });
        self.add(turn, Purpose::Release(Box::new(release)));
    }

    /// A planned turn with the turns that belong to it. Its ready steps go on the board.
    pub(crate) fn add_planned(&mut self, board: &mut Board, mut planned: Box<PlannedTurn>) {
        if planned.is_empty() {
            self.unchanged.push(*planned);
            return;
        }
        let index = self.turns.len();
        for entry in &planned.ready {
            self.fresh.insert(entry.key, index);
            board.offer(entry.clone());
        }
        for (step, _) in &planned.cancelled {
            board.queue().remove((planned.turn.run, *step));
        }
        let others = std::mem::take(&mut planned.others);
        let turn = std::mem::replace(&mut planned.turn, Turn::of(planned.live.run.info().id));
        planned.cleared_timers = turn.timers.iter().filter_map(cleared).collect();
        self.add(turn, Purpose::Planned(planned));
        for other in others {
            self.add(other, Purpose::Other);
        }
    }

    /// Leases for ready steps that fit free workers. A step that becomes ready in this batch is leased in the same turn.
    pub(crate) fn add_matches(&mut self, board: &mut Board, at: Timestamp) {
        let mut matches = Vec::new();
        board.match_all(&mut matches);
        for found in matches {
            let (run, step) = found.entry.key;
            let leased = StepChange::Leased {
                step,
                attempt: found.entry.attempt + 1,
                worker: found.link.name.as_ref().to_owned(),
                at,
            };
            match self.fresh.get(&found.entry.key) {
                Some(index) => {
                    self.turns[*index].steps.push(leased);
                    self.leased.push((*index, found));
                }
                None => {
                    let mut turn = Turn::of(run);
                    turn.steps.push(leased);
                    self.add(turn, Purpose::Lease(found));
                }
            }
        }
    }
}

fn cleared(change: &store::TimerChange) -> Option<TimerId> {
    match change {
        store::TimerChange::Clear { timer } => Some(*timer),
        store::TimerChange::Set { .. } => None,
    }
}
