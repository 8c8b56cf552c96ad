//! What workers hold: one table, written by the committer after its commits, asked by the workers' streams.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use protocol::id::AttemptId;

use super::queue::{Entry, StepKey};
use crate::workers::link::WorkerName;

/// A step that a worker holds.
#[derive(Clone, Debug)]
pub(crate) struct Lease {
    /// The attempt, which is the lease's generation.
    pub(crate) attempt: u32,
    /// Who holds it.
    pub(crate) worker: WorkerName,
    /// Whether its outcome has arrived and is on its way to the store.
    pub(crate) reported: bool,
    /// Whether it was told to stop: the store has the step as cancelled already.
    pub(crate) cancelled: bool,
    /// What is needed to hand it out again; `None` for a lease of before the server's start.
    pub(crate) entry: Option<Entry>,
}

/// The leases in force.
#[derive(Debug, Default)]
pub(crate) struct Leases(Mutex<HashMap<StepKey, Lease>>);

/// What a report about an attempt is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Claim {
    /// The worker holds the attempt; the outcome is to be applied.
    Accepted {
        /// Whether the step was cancelled before.
        cancelled: bool,
    },
    /// The outcome has arrived before and is not committed yet: it is acknowledged in time.
    Repeated,
    /// The worker does not hold the attempt.
    Stale,
}

impl Leases {
    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<StepKey, Lease>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Leases in force.
    pub(crate) fn len(&self) -> usize {
        self.table().len()
    }

    /// Notes a lease that was committed.
    pub(crate) fn insert(&self, key: StepKey, lease: Lease) {
        self.table().insert(key, lease);
    }

    /// Notes a lease of before: of this server, or of the one before it.
    pub(crate) fn adopt(&self, worker: &WorkerName, attempt: AttemptId) {
        let adopted = Lease {
            attempt: attempt.attempt,
            worker: Arc::clone(worker),
            reported: false,
            cancelled: false,
            entry: None,
        };
        let mut table = self.table();
        let lease = table.entry((attempt.run, attempt.step)).or_insert_with(|| adopted.clone());
        if lease.attempt < attempt.attempt {
            *lease = adopted;
        }
    }

    /// Whether the attempt is in force and has not ended.
    pub(crate) fn is_open(&self, attempt: AttemptId) -> bool {
        self.table()
            .get(&(attempt.run, attempt.step))
            .is_some_and(|lease| lease.attempt == attempt.attempt && !lease.reported && !lease.cancelled)
    }

    /// A worker reports the outcome of an attempt: the first one that holds it wins.
    pub(crate) fn claim(&self, worker: &WorkerName, attempt: AttemptId) -> Claim {
        let mut table = self.table();
        match table.get_mut(&(attempt.run, attempt.step)) {
            Some(lease) if lease.attempt == attempt.attempt && lease.worker == *worker => {
                if std::mem::replace(&mut lease.reported, true) {
                    return Claim::Repeated;
                }
                Claim::Accepted { cancelled: lease.cancelled }
            }
            _ => Claim::Stale,
        }
    }

    /// An outcome was not taken after all: the worker may report it again.
    pub(crate) fn unclaim(&self, attempt: AttemptId) {
        if let Some(lease) = self.table().get_mut(&(attempt.run, attempt.step))
            && lease.attempt == attempt.attempt
        {
            lease.reported = false;
        }
    }

    /// Whether the worker holds the attempt.
    pub(crate) fn holds(&self, worker: &WorkerName, attempt: AttemptId) -> bool {
        self.table()
            .get(&(attempt.run, attempt.step))
            .is_some_and(|lease| lease.attempt == attempt.attempt && lease.worker == *worker)
    }

    /// The step was cancelled in the store.
    pub(crate) fn cancel(&self, key: StepKey) -> Cancelled {
        let mut table = self.table();
        match table.get_mut(&key) {
            None => Cancelled::NotHeld,
            Some(lease) if lease.reported => Cancelled::Reported,
            Some(lease) => {
                lease.cancelled = true;
                let attempt = AttemptId { run: key.0, step: key.1, attempt: lease.attempt };
                Cancelled::Held(Arc::clone(&lease.worker), attempt)
            }
        }
    }

    /// The attempt has ended.
    pub(crate) fn remove(&self, attempt: AttemptId) -> Option<Lease> {
        let mut table = self.table();
        let key = (attempt.run, attempt.step);
        if table.get(&key).is_some_and(|lease| lease.attempt == attempt.attempt) {
            return table.remove(&key);
        }
        None
    }

    /// Takes the attempt from its worker, unless its outcome has arrived.
    pub(crate) fn take_lost(&self, attempt: AttemptId) -> TakeLost {
        let mut table = self.table();
        let key = (attempt.run, attempt.step);
        match table.get(&key) {
            Some(lease) if lease.attempt != attempt.attempt => TakeLost::Over,
            Some(lease) if lease.reported => TakeLost::Over,
            Some(_) => TakeLost::Taken(table.remove(&key).map(Box::new)),
            None => TakeLost::Taken(None),
        }
    }

    /// Attempts that the worker holds here, cancelled ones too.
    pub(crate) fn of_worker(&self, worker: &WorkerName) -> Vec<(AttemptId, bool)> {
        let table = self.table();
        let mut held: Vec<(AttemptId, bool)> = table
            .iter()
            .filter(|(_, lease)| lease.worker == *worker)
            .map(|((run, step), lease)| {
                (AttemptId { run: *run, step: *step, attempt: lease.attempt }, lease.cancelled)
            })
            .collect();
        held.sort_unstable_by_key(|(attempt, _)| (attempt.run, attempt.step));
        held
    }
}

/// Who is to be told that a step was cancelled.
pub(crate) enum Cancelled {
    /// The worker that holds it.
    Held(WorkerName, AttemptId),
    /// Nobody: its outcome has arrived.
    Reported,
    /// Nobody: no worker holds it.
    NotHeld,
}

/// What became of [`Leases::take_lost`].
pub(crate) enum TakeLost {
    /// The worker has it no more; the lease, if it was known here.
    Taken(Option<Box<Lease>>),
    /// Its outcome has arrived, or a later attempt is in force.
    Over,
}
