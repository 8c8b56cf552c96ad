//! What watchers of a run are told of a stored turn.

use planner::TaskPhase;
use store::StepState as Stored;

use super::committer::Committer;
use super::planned::PlannedTurn;
use crate::dispatch::queue::Entry;
use crate::watch::{RunEvent, StepState};
use crate::workers::link::WorkerName;

impl Committer {
    /// Tells a stored turn to those who watch its run.
    pub(crate) fn tell_watchers(&self, planned: &PlannedTurn) {
        let run = planned.live.run.info().id;
        if !self.core.watchers.is_followed(run) {
            return;
        }
        let time = self.core.clock.now();
        let tell = |event| self.core.watchers.tell(run, event);
        for note in &planned.notes {
            // A step's own events say this for tasks that a worker runs.
            if note.step.is_none() || matches!(note.phase, TaskPhase::Retried | TaskPhase::Skipped) {
                tell(RunEvent::Note { time, step: note.step, text: words(note) });
            }
        }
        for step in &planned.finished {
            let (state, worker) = (watched(step.state), step.worker.as_deref().map(str::to_owned));
            tell(RunEvent::Step {
                time,
                step: step.step,
                task: step.open.task.as_ref().to_owned(),
                mode: step.open.mode,
                attempt: step.attempt,
                state,
                worker,
                note: step.note.clone(),
            });
        }
        for (step, open) in &planned.cancelled {
            let (task, state) = (open.task.as_ref().to_owned(), StepState::Cancelled);
            let mode = open.mode;
            tell(RunEvent::Step {
                time,
                step: *step,
                task,
                mode,
                attempt: 0,
                state,
                worker: None,
                note: None,
            });
        }
        for entry in &planned.ready {
            tell(self.step_event(
                entry,
                StepState::Ready,
                None,
                self.core.registry.why_waiting(&entry.class),
            ));
        }
        if planned.status_changed {
            let status = planned.live.status;
            tell(RunEvent::Status { time, status: status.name().to_owned(), ended: status.is_final() });
        }
    }

    /// What watchers are told of a step that a worker holds or waits for.
    pub(crate) fn step_event(
        &self,
        entry: &Entry,
        state: StepState,
        worker: Option<&WorkerName>,
        note: Option<String>,
    ) -> RunEvent {
        RunEvent::Step {
            time: self.core.clock.now(),
            step: entry.key.1,
            task: entry.task.as_ref().to_owned(),
            mode: entry.mode,
            attempt: entry.attempt,
            state,
            worker: worker.map(|name| name.as_ref().to_owned()),
            note,
        }
    }
}

fn watched(state: Stored) -> StepState {
    match state {
        Stored::Ready => StepState::Ready,
        Stored::Leased => StepState::Leased,
        Stored::Started => StepState::Running,
        Stored::Completed => StepState::Completed,
        Stored::Failed => StepState::Failed,
        Stored::Cancelled => StepState::Cancelled,
    }
}

fn words(note: &planner::TaskNote) -> String {
    let phase = match note.phase {
        TaskPhase::Started => "started",
        TaskPhase::Completed => "completed",
        TaskPhase::Faulted => "faulted",
        TaskPhase::Skipped => "skipped",
        TaskPhase::Retried => "is tried again",
        TaskPhase::Cancelled => "cancelled",
    };
    match &note.detail {
        Some(detail) => format!("{} {phase}: {detail}", note.name),
        None => format!("{} {phase}", note.name),
    }
}
