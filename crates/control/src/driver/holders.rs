//! Workers that come and go: which leases they keep, and what becomes of the others.

use std::sync::Arc;

use planner::Event;
use protocol::id::{AttemptId, Timestamp};
use protocol::step::{StepError, StepOutcome, error_type};
use store::StoreError;

use super::batch::{Batch, Release};
use super::committer::{Committer, Connect, Outcome};
use super::input::{Input, Origin};
use crate::dispatch::leases::{Lease, TakeLost};
use crate::watch::StepState;
use crate::workers::link::{Outgoing, WorkerLink, WorkerName};

/// Workers that may be lost with one step before the step fails: it is likely the step that ends them.
pub const MAX_LOST_ATTEMPTS: u32 = 4;

impl Committer {
    /// A worker has come: what the store says it holds stays its own if it has it, and is handed out again if not.
    ///
    /// The committer reads the leases itself: it is the one who writes them, so that none is on its way meanwhile.
    pub(crate) async fn connect(&mut self, batch: &mut Batch, connect: Connect) {
        let Connect { link, held, draining } = connect;
        if let Some(former) = self.board.link(&link.name) {
            former.replace();
        }
        self.board.disconnect_name(&link.name);
        let read = async {
            let leases = self.core.store.worker_leases(&link.name).await?;
            Ok::<_, StoreError>((leases, self.core.store.ready_classes().await?))
        };
        let (stored, classes) = match read.await {
            Ok(read) => read,
            Err(error) => {
                tracing::warn!(worker = %link.name, %error, "failed to read a worker's leases: its stream is closed");
                link.close();
                return;
            }
        };
        let stored: Vec<AttemptId> = stored.into_iter().map(|lease| lease.attempt).collect();
        let lost = held.iter().filter(|attempt| !stored.contains(attempt)).copied().collect();
        link.send(Outgoing::Welcome { lost });
        if draining {
            link.send(Outgoing::Drain);
        }
        for attempt in stored {
            if held.contains(&attempt) {
                self.core.leases.adopt(&link.name, attempt);
            } else {
                self.lose(batch, attempt, Some(&link));
            }
        }
        self.lose_cancelled(&link.name, &held);
        self.board.connect(link, draining, &classes);
    }

    /// A worker was silent for too long: what it holds is handed out again.
    pub(crate) async fn expire(&mut self, batch: &mut Batch, worker: &WorkerName) {
        let now = self.core.clock.now();
        if self.core.registry.is_alive(worker, now) {
            return;
        }
        let stored = match self.core.store.worker_leases(worker).await {
            Ok(stored) => stored,
            Err(error) => {
                tracing::warn!(%worker, %error, "failed to read the leases of a silent worker; trying again");
                return;
            }
        };
        tracing::warn!(%worker, leases = stored.len(), "a worker is silent: its leases have expired");
        self.board.disconnect_name(worker);
        self.core.metrics.leases_expired.add(stored.len() as u64);
        for lease in stored {
            self.lose(batch, lease.attempt, None);
        }
        self.lose_cancelled(worker, &[]);
    }

    /// Takes an attempt from a worker that is lost. After too many the step fails.
    pub(crate) fn lose(&mut self, batch: &mut Batch, attempt: AttemptId, link: Option<&Arc<WorkerLink>>) {
        let lease = match self.core.leases.take_lost(attempt) {
            TakeLost::Taken(lease) => lease.map(|lease| *lease),
            TakeLost::Over => return,
        };
        let now = self.core.clock.now();
        if lease.as_ref().is_some_and(|lease| lease.cancelled) {
            self.stopped(attempt, now);
        } else if attempt.attempt >= MAX_LOST_ATTEMPTS {
            let outcome = StepOutcome::Failed { error: lost_too_often(attempt.attempt) };
            let event = Event::StepFinished { step: attempt.step, outcome, at: now };
            // It stays reported meanwhile, so that nobody takes it again.
            let lease = Lease {
                attempt: attempt.attempt,
                worker: "".into(),
                reported: true,
                cancelled: false,
                entry: None,
            };
            self.core.leases.insert((attempt.run, attempt.step), lease);
            self.core.schedule.push(attempt.run, Input::Event { event, origin: Origin::Lost { attempt } });
        } else {
            batch.add_release(Release { attempt, lease, link: link.cloned() }, now);
        }
    }

    /// Cancelled steps of a worker that is lost have stopped.
    fn lose_cancelled(&mut self, worker: &WorkerName, held: &[AttemptId]) {
        let now = self.core.clock.now();
        for (attempt, cancelled) in self.core.leases.of_worker(worker) {
            if cancelled
                && !held.contains(&attempt)
                && matches!(self.core.leases.take_lost(attempt), TakeLost::Taken(_))
            {
                self.stopped(attempt, now);
            }
        }
    }

    fn stopped(&self, attempt: AttemptId, at: Timestamp) {
        let event = Event::StepFinished { step: attempt.step, outcome: StepOutcome::Cancelled, at };
        self.core.schedule.push(attempt.run, Input::Event { event, origin: Origin::Driver });
    }

    /// A lease that was taken is committed as such, or is not.
    pub(crate) fn released(&mut self, release: Release, outcome: &Outcome) {
        let Release { attempt, lease, link } = release;
        match outcome {
            Outcome::Committed(_) => match lease.and_then(|lease| lease.entry) {
                Some(mut entry) => {
                    entry.attempt = attempt.attempt;
                    if self.core.watchers.is_followed(attempt.run) {
                        let note = "its worker was lost; it is handed out again".to_owned();
                        let event = self.step_event(&entry, StepState::Lost, None, Some(note));
                        self.core.watchers.tell(attempt.run, event);
                    }
                    if !self.suspended.contains(&attempt.run) {
                        self.board.offer_again(entry);
                        self.again = true;
                    }
                }
                // A lease of before this server's start: the step is found in the store.
                None => self.rescan = true,
            },
            Outcome::Refused(refusal) => tracing::debug!(%attempt, %refusal, "a lease was over already"),
            _ => {
                // The lease is still in the store: the worker is told anew when it comes again.
                if let Some(link) = link {
                    link.close();
                }
            }
        }
    }
}

fn lost_too_often(attempts: u32) -> StepError {
    StepError {
        kind: error_type::RUNTIME.to_owned(),
        status: 500,
        title: "The step's workers were lost".to_owned(),
        detail: format!(
            "{attempts} workers in a row were lost while they ran this step, so it is not tried again: look at the \
             workers' logs for what ended them (memory?), then retry the run"
        ),
    }
}
