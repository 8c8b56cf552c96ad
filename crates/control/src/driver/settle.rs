//! After a commit: what was stored is told and done, what was not is taken back.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use planner::{ChildId, Event};
use protocol::id::{AttemptId, RunId};
use protocol::step::StepOutcome;
use store::{Refusal, RunStatus, StepState as Stored};

use super::batch::{Batch, Purpose};
use super::committer::{Committer, Outcome};
use super::input::{Alarm, Created, Input, Origin};
use super::planned::{PlannedTurn, Told};
use crate::dispatch::board::Match;
use crate::dispatch::leases::{Cancelled, Lease};
use crate::error::{ControlError, SubmitError};
use crate::watch::StepState;
use crate::workers::link::{Assigned, Outgoing, WorkerLink, WorkerName};

/// Messages for workers, gathered over a batch so that each gets one of a kind.
#[derive(Default)]
struct Mail {
    acknowledge: BTreeMap<WorkerName, Vec<AttemptId>>,
    cancel: BTreeMap<WorkerName, Vec<AttemptId>>,
    assign: BTreeMap<WorkerName, (Arc<WorkerLink>, Vec<Assigned>)>,
}

impl Committer {
    /// Tells and does what was stored; takes back what was not.
    pub(crate) fn settle(&mut self, batch: Batch, outcomes: Vec<Outcome>) {
        let mut mail = Mail::default();
        let Batch { purposes, leased, unchanged, .. } = batch;
        // Leases first: a step may be cancelled in the turn after the one that leased it.
        for (index, found) in leased {
            self.leased(&mut mail, found, &outcomes[index], true);
        }
        let mut planned = Vec::with_capacity(purposes.len());
        for (purpose, outcome) in purposes.into_iter().zip(outcomes) {
            match purpose {
                Purpose::Planned(turn) => planned.push((turn, outcome)),
                Purpose::Other => {
                    if let Outcome::Refused(refusal) = outcome {
                        tracing::debug!(%refusal, "a change came too late");
                    }
                }
                Purpose::Postponed(run, timer) => self.core.bell.done(run, timer),
                Purpose::Lease(found) => self.leased(&mut mail, found, &outcome, false),
                Purpose::Release(release) => self.released(*release, &outcome),
            }
        }
        for (turn, outcome) in planned {
            match outcome {
                Outcome::Committed(version) => self.done(&mut mail, *turn, version),
                Outcome::Repeated(run) => self.repeated(*turn, run),
                failure => self.undo(&mut mail, *turn, &failure),
            }
        }
        for turn in unchanged {
            let version = turn.live.version;
            self.done(&mut mail, turn, version);
        }
        self.post(mail);
    }

    fn leased(&mut self, mail: &mut Mail, found: Match, outcome: &Outcome, fresh: bool) {
        let Match { mut entry, link } = found;
        if !matches!(outcome, Outcome::Committed(_)) {
            self.board.return_credit(&link);
            // A step of a turn that failed never became ready; one that is refused is not ready any more.
            if !fresh && matches!(outcome, Outcome::Failed(_)) {
                self.board.offer_again(entry);
                self.again = true;
            }
            return;
        }
        entry.attempt += 1;
        let attempt = AttemptId { run: entry.key.0, step: entry.key.1, attempt: entry.attempt };
        self.core.metrics.steps_leased.add(1);
        if self.core.watchers.is_followed(attempt.run) {
            let event = self.step_event(&entry, StepState::Leased, Some(&link.name), None);
            self.core.watchers.tell(attempt.run, event);
        }
        let assigned = Assigned { attempt, spec: entry.spec.clone(), meta: Arc::clone(&entry.meta) };
        let lease = Lease {
            attempt: entry.attempt,
            worker: Arc::clone(&link.name),
            reported: false,
            cancelled: false,
            entry: Some(entry),
        };
        self.core.leases.insert((attempt.run, attempt.step), lease);
        let name = Arc::clone(&link.name);
        mail.assign.entry(name).or_insert_with(|| (link, Vec::new())).1.push(assigned);
    }

    fn done(&mut self, mail: &mut Mail, planned: PlannedTurn, version: u64) {
        self.tell_watchers(&planned);
        self.follow_up(&planned);
        let PlannedTurn { mut live, later, told, creation, closed_at, go_on, outcome, cancelled, .. } =
            planned;
        let run = live.run.info().id;
        live.version = version;
        self.note_suspension(&live);
        if let Some(creation) = creation {
            let _ = creation.send(Ok(Created::New { status: live.status, version, at: closed_at }));
        }
        if outcome.is_some() {
            self.core.ends.tell(run);
        }
        for (step, _) in cancelled {
            match self.core.leases.cancel((run, step)) {
                Cancelled::Held(worker, attempt) => mail.cancel.entry(worker).or_default().push(attempt),
                Cancelled::Reported => {}
                Cancelled::NotHeld => {
                    let at = self.core.clock.now();
                    let event = Event::StepFinished { step, outcome: StepOutcome::Cancelled, at };
                    if live.status == RunStatus::Cancelling {
                        self.core.schedule.push(run, Input::Event { event, origin: Origin::Driver });
                    }
                }
            }
        }
        if let (Some(parent), Some(outcome)) = (live.parent, outcome) {
            let (child, at) = (ChildId(parent.child), self.core.clock.now());
            let event = Event::ChildFinished { child, outcome, at };
            self.core.schedule.push(parent.run, Input::Event { event, origin: Origin::Child(run) });
        }
        self.core.schedule.give_back(run, Some(live), later);
        if go_on {
            // Behind all runs that wait now.
            self.core.schedule.push(run, Input::Alarm(Alarm::GoOn));
        }
        for told in told {
            self.answer(mail, told);
        }
    }

    /// Who waited for an event is told that it is stored.
    fn answer(&mut self, mail: &mut Mail, told: Told) {
        match told.origin {
            Origin::Client(reply) => {
                let _ =
                    reply.send(told.verdict.map_err(|rejected| ControlError::Conflict(rejected.to_string())));
            }
            Origin::Report { attempt, worker, .. } => {
                self.core.leases.remove(attempt);
                mail.acknowledge.entry(worker).or_default().push(attempt);
            }
            Origin::Lost { attempt } => {
                self.core.leases.remove(attempt);
            }
            Origin::Child(child) => self.core.bell.done(child, Alarm::Deliver.timer()),
            Origin::Timer(_) | Origin::Driver => {}
        }
    }

    fn repeated(&mut self, planned: PlannedTurn, run: RunId) {
        for entry in &planned.ready {
            self.board.queue().remove(entry.key);
        }
        if let Some(creation) = planned.creation {
            let _ = creation.send(Ok(Created::Repeated(run)));
        }
        self.core.schedule.give_back(planned.live.run.info().id, None, planned.later);
    }

    /// A turn was not stored: the run is loaded again, clients may try again, and what workers said is planned again.
    fn undo(&mut self, mail: &mut Mail, planned: PlannedTurn, failure: &Outcome) {
        let run = planned.live.run.info().id;
        for entry in &planned.ready {
            self.board.queue().remove(entry.key);
        }
        for timer in &planned.cleared_timers {
            self.core.bell.done(run, *timer);
        }
        let reason = match failure {
            Outcome::Refused(refusal) => refusal.to_string(),
            Outcome::Failed(reason) | Outcome::Invalid(reason) => reason.clone(),
            Outcome::Committed(_) | Outcome::Repeated(_) => unreachable!("such turns are not undone"),
        };
        if let Some(creation) = planned.creation {
            let _ = creation.send(Err(match failure {
                Outcome::Refused(Refusal::KeyReused { run }) => {
                    SubmitError::IdempotencyKeyReused { key: planned.key.unwrap_or_default(), run: *run }
                }
                Outcome::Invalid(reason) => SubmitError::TooLarge(reason.clone()),
                _ => SubmitError::Unavailable(reason.clone()),
            }));
        }
        if !matches!(failure, Outcome::Failed(_)) {
            tracing::warn!(%run, %reason, "a turn was refused; the run is loaded again");
        }
        let mut again = VecDeque::new();
        for Told { event, origin, .. } in planned.told {
            match (origin, failure) {
                (Origin::Client(reply), Outcome::Invalid(reason)) => {
                    let _ = reply.send(Err(ControlError::Conflict(reason.clone())));
                }
                (Origin::Client(reply), _) => {
                    let _ = reply.send(Err(ControlError::Unavailable(reason.clone())));
                }
                // Another server has settled the attempt, or the store will never take the outcome.
                (
                    Origin::Report { attempt, worker, .. },
                    Outcome::Refused(Refusal::Stale { .. }) | Outcome::Invalid(_),
                ) => {
                    self.core.leases.remove(attempt);
                    mail.acknowledge.entry(worker).or_default().push(attempt);
                }
                (Origin::Lost { .. } | Origin::Driver, Outcome::Refused(_) | Outcome::Invalid(_)) => {}
                // The store fires it again.
                (Origin::Timer(_), _) => {}
                (origin, _) if planned.created => drop((event, origin)),
                (origin, _) => again.push_back(Input::Event { event, origin }),
            }
        }
        again.extend(planned.later);
        self.core.schedule.give_back(run, None, again);
    }

    fn post(&self, mail: Mail) {
        for (worker, attempts) in mail.acknowledge {
            if let Some(link) = self.board.link(&worker) {
                link.send(Outgoing::Acknowledge(attempts));
            }
        }
        for (_, (link, steps)) in mail.assign {
            link.send(Outgoing::Assign(steps));
        }
        // After the assignments: a step may be cancelled right after it was leased.
        for (worker, attempts) in mail.cancel {
            if let Some(link) = self.board.link(&worker) {
                link.send(Outgoing::Cancel(attempts));
            }
        }
    }

    /// Counts a stored turn, and wakes who goes on with it.
    fn follow_up(&self, planned: &PlannedTurn) {
        let metrics = &self.core.metrics;
        if planned.created {
            metrics.runs_submitted.add(1);
        }
        metrics.steps_planned.add(planned.ready.len() as u64);
        for step in &planned.finished {
            match step.state {
                Stored::Completed => metrics.steps_completed.add(1),
                Stored::Failed => metrics.steps_failed.add(1),
                _ => {}
            }
        }
        if planned.outcome.is_some() {
            match planned.live.status {
                RunStatus::Completed => metrics.runs_completed.add(1),
                RunStatus::Faulted => metrics.runs_faulted.add(1),
                _ => metrics.runs_cancelled.add(1),
            }
        }
        if let Some(at) = planned.earliest_timer {
            self.core.bell.set(at);
        }
        let run = planned.live.run.info().id;
        for timer in &planned.cleared_timers {
            self.core.bell.done(run, *timer);
        }
        for child in &planned.children {
            self.core.schedule.push(*child, Input::Alarm(Alarm::Start));
        }
        for child in &planned.cancelled_children {
            self.core.schedule.push(*child, Input::Alarm(Alarm::Cancel));
        }
    }
}
