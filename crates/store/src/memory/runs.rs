//! Runs, steps and timers of the fake.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::{AttemptId, RunId, StepId, TimerId, Timestamp};

use super::State;
use crate::stage::{self, StageError};
use crate::{
    Counts, Deleted, HistoryEntry, Lease, LoadedRun, NewRun, ReadyCursor, ReadyStep, Refusal, RunFilter,
    RunStatus, RunSummary, RunValues, Snapshot, Step, StepState, StoreError, SummaryChange, Timer,
    TimerChange, Turn, TurnOutcome,
};

pub(super) struct Run {
    pub(super) summary: RunSummary,
    pub(super) values: RunValues,
    pub(super) events: Vec<HistoryEntry>,
    pub(super) steps: BTreeMap<StepId, (Step, Bytes)>,
    snapshot: Option<Snapshot>,
    timers: BTreeMap<TimerId, Timestamp>,
}

impl State {
    pub(super) fn commit(&mut self, turns: Vec<Turn>) -> Result<Vec<TurnOutcome>, StoreError> {
        stage::validate(&turns)?;
        turns.into_iter().map(|turn| self.take(turn)).collect()
    }

    /// Takes one turn. All checks come before the first change, so that a refused turn leaves nothing behind.
    fn take(&mut self, turn: Turn) -> Result<TurnOutcome, StoreError> {
        if let Some(idempotency) =
            turn.create.as_ref().and_then(|new| new.idempotency.as_ref().map(|i| (new, i)))
        {
            let (new, idempotency) = idempotency;
            if let Some((run, request)) = self.keys.get(&(new.namespace.clone(), idempotency.key.clone())) {
                return Ok(match *request == idempotency.request_sha256 {
                    true => TurnOutcome::Repeated { run: *run },
                    false => TurnOutcome::Refused(Refusal::KeyReused { run: *run }),
                });
            }
        }
        let found = self.runs.get(&turn.run);
        let version = match stage::starting_version(&turn, found.map(|run| run.summary.version)) {
            Ok(version) => version,
            Err(refusal) => return Ok(TurnOutcome::Refused(refusal)),
        };
        let load = |id| Ok(found.and_then(|run| run.steps.get(&id)).map(|(step, _)| step.clone()));
        let staged = match stage::stage_steps(&turn.steps, load) {
            Ok(staged) => staged,
            Err(StageError::Refused(refusal)) => return Ok(TurnOutcome::Refused(refusal)),
            Err(StageError::Store(error)) => return Err(error),
        };

        if let Some(new) = turn.create {
            if let Some(idempotency) = &new.idempotency {
                let key = (new.namespace.clone(), idempotency.key.clone());
                self.keys.insert(key, (turn.run, idempotency.request_sha256));
            }
            self.runs.insert(turn.run, Run::new(turn.run, new));
        }
        let run = self.runs.get_mut(&turn.run).expect("found above or just made");
        for (number, event) in (version + 1..).zip(turn.events) {
            run.events.push(HistoryEntry { number, at: event.at, event: event.event, notes: event.notes });
        }
        run.summary.version = run.events.len() as u64;
        if let Some(state) = turn.snapshot {
            run.snapshot = Some(Snapshot { version: run.summary.version, state });
        }
        if let Some(change) = turn.summary {
            run.change_summary(change);
        }
        for step in staged {
            let entry = run.steps.entry(step.step.step);
            let spec = step.spec.cloned().unwrap_or_default();
            entry.and_modify(|(old, _)| *old = step.step.clone()).or_insert((step.step, spec));
        }
        for change in turn.timers {
            match change {
                TimerChange::Set { timer, at } => run.timers.insert(timer, at),
                TimerChange::Clear { timer } => run.timers.remove(&timer),
            };
        }
        match run.summary.status.is_final() {
            true => self.unfinished.remove(&turn.run),
            false => self.unfinished.insert(turn.run),
        };
        Ok(TurnOutcome::Committed { version: run.summary.version })
    }

    pub(super) fn load_run(&self, run: RunId) -> Option<LoadedRun> {
        let found = self.runs.get(&run)?;
        let from = found.snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
        Some(LoadedRun {
            summary: found.summary.clone(),
            snapshot: found.snapshot.clone(),
            events: found.events.iter().filter(|entry| entry.number > from).cloned().collect(),
            open_steps: found
                .steps
                .values()
                .map(|(s, _)| s)
                .filter(|s| !s.state.is_final())
                .cloned()
                .collect(),
            timers: found.timers.iter().map(|(timer, at)| Timer { at: *at, run, timer: *timer }).collect(),
        })
    }

    pub(super) fn list_runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Vec<RunSummary> {
        let newest_first = self.runs.values().rev().map(|run| &run.summary);
        let below = newest_first.filter(|summary| before.is_none_or(|before| summary.run < before));
        below.filter(|summary| matches(filter, summary)).take(limit).cloned().collect()
    }

    /// All timers, earliest first.
    pub(super) fn timers(&self) -> Vec<Timer> {
        let of_run = |(run, entry): (&RunId, &Run)| {
            let run = *run;
            entry
                .timers
                .iter()
                .map(move |(timer, at)| Timer { at: *at, run, timer: *timer })
                .collect::<Vec<_>>()
        };
        let mut timers: Vec<_> = self.runs.iter().flat_map(of_run).collect();
        timers.sort();
        timers
    }

    pub(super) fn counts(&self, namespace: Option<&str>) -> Counts {
        let mut counts = Counts::default();
        for run in self.runs.values() {
            if namespace.is_some_and(|namespace| run.summary.namespace != namespace) {
                continue;
            }
            counts.runs[run.summary.status as usize] += 1;
            for (step, _) in run.steps.values() {
                counts.steps[step.state as usize] += 1;
            }
        }
        counts
    }

    pub(super) fn ended_runs(&self, before: Timestamp, after: Option<RunId>, limit: usize) -> Vec<RunId> {
        let above = self.runs.iter().filter(|(run, _)| after.is_none_or(|after| **run > after));
        let ended = above.filter(|(_, run)| run.summary.finished_at.is_some_and(|at| at < before));
        ended.map(|(run, _)| *run).take(limit).collect()
    }

    pub(super) fn delete_run(&mut self, id: RunId) -> Deleted {
        if let Some(run) = self.runs.get(&id) {
            let goes_on = |run: &Run| !run.summary.status.is_final();
            let parent = run.summary.parent.and_then(|parent| self.runs.get(&parent.run));
            let open = run.steps.values().any(|(step, _)| !step.state.is_final());
            if goes_on(run) || open || !run.timers.is_empty() || parent.is_some_and(goes_on) {
                return Deleted::Kept;
            }
        }
        self.runs.remove(&id);
        self.keys.retain(|_, (run, _)| *run != id);
        self.logs.retain(|(run, _), _| *run != id);
        self.log_bytes.retain(|(run, _), _| *run != id);
        Deleted::Gone
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = (&RunSummary, &Step, &Bytes)> {
        self.runs.values().flat_map(|run| {
            let ready = run.steps.values().filter(|(step, _)| step.state == StepState::Ready);
            ready.map(|(step, spec)| (&run.summary, step, spec))
        })
    }

    pub(super) fn ready_steps(
        &self,
        class: &str,
        after: Option<ReadyCursor>,
        limit: usize,
    ) -> Vec<ReadyStep> {
        let order = |place: &ReadyCursor| (Reverse(place.priority), place.at, place.run, place.step);
        let of_class = self.ready().filter(|(_, step, _)| step.class == class);
        let mut found: Vec<ReadyStep> =
            of_class.map(|(run, step, spec)| ready_step(run, step, spec)).collect();
        found.retain(|step| after.is_none_or(|after| order(&step.place) > order(&after)));
        found.sort_by_key(|step| order(&step.place));
        found.truncate(limit);
        found
    }

    /// All leases, by run and step.
    pub(super) fn leases(&self) -> Vec<Lease> {
        let mut leases = Vec::new();
        for (run, entry) in &self.runs {
            for (step, _) in entry.steps.values().filter(|(step, _)| step.state.is_held()) {
                leases.push(Lease {
                    attempt: AttemptId { run: *run, step: step.step, attempt: step.attempt },
                    worker: step.worker.clone().unwrap_or_default(),
                    leased_at: step.leased_at.unwrap_or_default(),
                    started: step.state == StepState::Started,
                });
            }
        }
        leases
    }
}

impl Run {
    fn new(run: RunId, new: NewRun) -> Self {
        Run {
            summary: RunSummary {
                run,
                namespace: new.namespace,
                workflow: new.workflow,
                workflow_version: new.version,
                labels: new.labels,
                status: RunStatus::Pending,
                version: 0,
                parent: new.parent,
                created_at: new.at,
                updated_at: new.at,
                finished_at: None,
            },
            values: RunValues { input: new.input, output: None, error: None },
            events: Vec::new(),
            steps: BTreeMap::new(),
            snapshot: None,
            timers: BTreeMap::new(),
        }
    }

    fn change_summary(&mut self, change: SummaryChange) {
        self.summary.status = change.status;
        self.summary.updated_at = change.updated_at;
        self.summary.finished_at = change.finished_at;
        self.values.output = change.output;
        self.values.error = change.error;
    }
}

fn matches(filter: &RunFilter, summary: &RunSummary) -> bool {
    filter.namespace.as_ref().is_none_or(|namespace| summary.namespace == *namespace)
        && filter.workflow.as_ref().is_none_or(|workflow| summary.workflow == *workflow)
        && filter.status.is_none_or(|status| summary.status == status)
        && filter.label.as_ref().is_none_or(|(key, value)| summary.labels.get(key) == Some(value))
        && filter.parent.is_none_or(|parent| summary.parent.is_some_and(|found| found.run == parent))
}

fn ready_step(run: &RunSummary, step: &Step, spec: &Bytes) -> ReadyStep {
    ReadyStep {
        place: ReadyCursor { priority: step.priority, at: step.ready_at, run: run.run, step: step.step },
        attempt: step.attempt,
        mode: step.mode,
        class: step.class.clone(),
        namespace: run.namespace.clone(),
        workflow: run.workflow.clone(),
        workflow_version: run.workflow_version.clone(),
        spec: spec.clone(),
    }
}
