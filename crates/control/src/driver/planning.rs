//! One turn of one run: its events through the pure planner, and what the planner answers as changes for the store.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use planner::{Action, ChildId, Event, RunError, RunOutcome, Status};
use protocol::id::{RunId, StepId, Timestamp};
use protocol::step::{StepError, StepOutcome, StepSpec, error_type};
use store::{EncodedEvent, NewStep, Parent, RunStatus, StepChange, SummaryChange, TimerChange, Turn};

use super::documents::{DocumentError, Documents};
use super::input::{ALARM_DELAY_MS, Alarm, Creation, Input, Origin, Started, child_run};
use super::live::{LiveRun, OpenStep};
use super::planned::{PlannedTurn, Told, json};
use crate::dispatch::class::Requirements;
use crate::dispatch::queue::{CONTINUING, Entry, FRESH};

/// Time after which a turn takes no further event, so that one run does not keep a planner.
const TURN_TIME: Duration = Duration::from_millis(5);
/// Events of one turn.
const MAX_TURN_EVENTS: usize = 256;
/// Bytes of a run's history after which it is snapshotted, however few its events are.
const SNAPSHOT_BYTES: usize = 1 << 20;

/// Runs above a run: a workflow that runs itself, directly or not, ends here instead of never.
const MAX_ANCESTORS: usize = 32;

/// What planning needs beside the run.
pub(crate) struct Planning {
    /// Documents, for child runs.
    pub(crate) documents: Documents,
    /// Whether grants can be signed: steps with an identity fail otherwise.
    pub(crate) signs_grants: bool,
    /// Events of a run between two snapshots.
    pub(crate) snapshot_events: u32,
    /// Where time comes from.
    pub(crate) clock: crate::clock::Clock,
}

impl Planning {
    /// Makes the run of a creation and plans its first turn.
    pub(crate) async fn create(&self, run: RunId, creation: Creation) -> PlannedTurn {
        let Creation { new, workflow, event, reply } = creation;
        let live = Box::new(LiveRun::new(run, &new, workflow));
        let mut planned = PlannedTurn::of(live);
        planned.turn.expected_version = None;
        planned.created = true;
        planned.key = new.idempotency.as_ref().map(|idempotency| idempotency.key.clone());
        planned.turn.create = Some(new);
        planned.creation = Some(reply);
        self.take(&mut planned, event, Origin::Driver).await;
        self.close(&mut planned);
        planned
    }

    /// Plans a turn of a run.
    pub(crate) async fn turn(&self, live: Box<LiveRun>, mut inputs: VecDeque<Input>) -> PlannedTurn {
        let begin = Instant::now();
        let mut planned = PlannedTurn::of(live);
        for _ in 0..MAX_TURN_EVENTS {
            match inputs.pop_front() {
                None => break,
                Some(Input::Event { event, origin }) => self.take(&mut planned, event, origin).await,
                Some(Input::Alarm(alarm)) => self.alarm(&mut planned, alarm).await,
                // A run is made once: its creation never comes after another input.
                Some(Input::Create(_)) => unreachable!("the run exists"),
            }
            if planned.go_on || begin.elapsed() > TURN_TIME {
                break;
            }
        }
        planned.later = inputs;
        self.close(&mut planned);
        planned
    }

    async fn alarm(&self, planned: &mut PlannedTurn, alarm: Alarm) {
        let at = self.clock.now();
        let event = match alarm {
            // Start and deliver need values of the store: who queues the input has turned them into events.
            Alarm::Start | Alarm::Deliver => None,
            Alarm::GoOn => Some(Event::Continued { at }),
            Alarm::Cancel => {
                Some(Event::CancelRequested { reason: "its parent run was cancelled".to_owned(), at })
            }
        };
        if let Some(event) = event {
            self.take(planned, event, Origin::Driver).await;
        }
        if !(alarm == Alarm::GoOn && planned.go_on) {
            planned.turn.timers.push(TimerChange::Clear { timer: alarm.timer() });
        }
    }

    /// Applies an event, and those that follow from it at once.
    async fn take(&self, planned: &mut PlannedTurn, event: Event, origin: Origin) {
        let mut pending = VecDeque::from([(event, origin)]);
        while let Some((event, origin)) = pending.pop_front() {
            let notes_before = planned.notes.len();
            let applied = planned.live.run.apply(&event);
            self.note_origin(planned, &event, &origin);
            let verdict = match applied {
                Ok(actions) => {
                    let at = event.at();
                    for action in actions {
                        self.act(planned, action, at, &mut pending).await;
                    }
                    self.record(planned, &event, notes_before);
                    Ok(())
                }
                Err(rejected) => Err(rejected),
            };
            planned.told.push(Told { event, origin, verdict });
        }
    }

    /// What an event's origin changes in the store whether or not the planner has use for the event.
    fn note_origin(&self, planned: &mut PlannedTurn, event: &Event, origin: &Origin) {
        match (origin, event) {
            (
                Origin::Report { attempt, worker, open: true, started },
                Event::StepFinished { outcome, at, .. },
            ) => {
                let worker = Some(Arc::clone(worker));
                if let Some(Started { at, sandbox }) = started
                    && planned.live.open.contains_key(&attempt.step)
                {
                    let (at, sandbox) = (*at, sandbox.clone());
                    let started =
                        StepChange::Started { step: attempt.step, attempt: attempt.attempt, at, sandbox };
                    planned.turn.steps.push(started);
                }
                planned.end_step(attempt.step, attempt.attempt, outcome, *at, worker);
            }
            (Origin::Lost { attempt }, Event::StepFinished { outcome, at, .. }) => {
                planned.end_step(attempt.step, attempt.attempt, outcome, *at, None);
            }
            (Origin::Timer(timer), _) => {
                planned.turn.timers.push(TimerChange::Clear { timer: *timer });
            }
            (Origin::Child(child), _) => {
                let mut turn = Turn::of(*child);
                turn.timers.push(TimerChange::Clear { timer: Alarm::Deliver.timer() });
                planned.others.push(turn);
            }
            _ => {}
        }
    }

    /// Appends an applied event to the history.
    fn record(&self, planned: &mut PlannedTurn, event: &Event, notes_before: usize) {
        let notes = match &planned.notes[notes_before..] {
            [] => Bytes::new(),
            notes => json(notes),
        };
        let event = EncodedEvent { at: event.at(), event: json(event), notes };
        planned.live.weight += event.event.len();
        planned.live.since_snapshot += 1;
        planned.turn.events.push(event);
    }

    async fn act(
        &self,
        planned: &mut PlannedTurn,
        action: Action,
        at: Timestamp,
        pending: &mut VecDeque<(Event, Origin)>,
    ) {
        match action {
            Action::StartStep { step, spec } => self.start_step(planned, step, spec, at, pending),
            Action::CancelStep { step } => {
                if let Some(open) = planned.live.open.remove(&step) {
                    planned.turn.steps.push(StepChange::Cancelled { step, at });
                    planned.ready.retain(|entry| entry.key.1 != step);
                    planned.cancelled.push((step, open));
                }
            }
            Action::StartChild { child, namespace, name, version, input, .. } => {
                let wanted = ChildWanted { child, namespace, name, version, input: json(&input) };
                if let Err(error) = self.start_child(planned, wanted, at).await {
                    let outcome = RunOutcome::Faulted { error };
                    pending.push_back((Event::ChildFinished { child, outcome, at }, Origin::Driver));
                }
            }
            Action::CancelChild { child } => {
                let child = child_run(planned.turn.run, child);
                planned.others.push(alarm_turn(child, Alarm::Cancel, at));
                planned.cancelled_children.push(child);
            }
            Action::SetTimer { timer, at } => {
                planned.turn.timers.push(TimerChange::Set { timer, at });
                planned.earliest_timer = Some(planned.earliest_timer.map_or(at, |other| other.min(at)));
            }
            Action::ClearTimer { timer } => planned.turn.timers.push(TimerChange::Clear { timer }),
            Action::Yield => {
                planned.turn.timers.push(alarm_change(Alarm::GoOn, at));
                planned.go_on = true;
            }
            Action::Note(note) => planned.notes.push(note),
            Action::Finish(outcome) => {
                if planned.live.parent.is_some() {
                    planned.turn.timers.push(alarm_change(Alarm::Deliver, at));
                }
                planned.outcome = Some(outcome);
            }
        }
    }

    fn start_step(
        &self,
        planned: &mut PlannedTurn,
        step: StepId,
        spec: StepSpec,
        at: Timestamp,
        pending: &mut VecDeque<(Event, Origin)>,
    ) {
        let class: Arc<str> = Requirements::of(&spec).class().into();
        let live = &mut planned.live;
        let priority = if live.begun { CONTINUING } else { FRESH };
        let bytes = json(&spec);
        let new = NewStep {
            step,
            name: task_name(&spec.task),
            mode: spec.mode,
            class: class.as_ref().to_owned(),
            priority,
            spec: bytes.clone(),
            at,
            task: spec.task,
        };
        let task: Arc<str> = new.task.as_str().into();
        let open = OpenStep { task: Arc::clone(&task), mode: spec.mode };
        planned.turn.steps.push(StepChange::Ready(new));
        if spec.identity.is_some() && !self.signs_grants {
            planned.turn.steps.push(StepChange::Cancelled { step, at });
            planned.cancelled.push((step, open));
            let outcome = StepOutcome::Failed { error: no_grant_key() };
            pending.push_back((Event::StepFinished { step, outcome, at }, Origin::Driver));
            return;
        }
        live.open.insert(step, open);
        planned.ready.push(Entry {
            key: (planned.turn.run, step),
            attempt: 0,
            class,
            priority,
            ready_at: at,
            task,
            mode: spec.mode,
            spec: bytes,
            meta: Arc::clone(&live.meta),
        });
    }

    /// Makes the child in the same commit. It begins by an alarm, so that a crash after the commit only delays it.
    async fn start_child(
        &self,
        planned: &mut PlannedTurn,
        wanted: ChildWanted,
        at: Timestamp,
    ) -> Result<(), RunError> {
        let ChildWanted { child, namespace, name, version, input } = wanted;
        let exact = (version != "latest").then_some(version.as_str());
        let missing = |detail: String| {
            let title = "The workflow cannot be run".to_owned();
            let kind = error_type::CONFIGURATION.to_owned();
            let error = StepError { kind, status: 400, title, detail };
            RunError::at(error, format!("child {child}"))
        };
        // Who may start runs of one namespace may not by that start runs of another, with its identities.
        if *namespace != *planned.live.meta.namespace {
            return Err(missing(format!(
                "workflow `{namespace}/{name}` is of another namespace than this run, which is of `{}`: publish it there \
                 too",
                planned.live.meta.namespace
            )));
        }
        let workflow = match self.documents.published(&namespace, &name, exact).await {
            Ok(Some(workflow)) => workflow,
            Ok(None) => {
                let detail = format!("workflow `{namespace}/{name}` {version} is not published");
                return Err(missing(detail));
            }
            Err(DocumentError::Refused(diagnostics)) => return Err(missing(diagnostics.to_string())),
            Err(error) => return Err(missing(error.to_string())),
        };
        match self.documents.ancestors(planned.live.parent, MAX_ANCESTORS).await {
            Ok(above) if above < MAX_ANCESTORS => {}
            Ok(_) => {
                return Err(missing(format!(
                    "workflow `{namespace}/{name}` would be the child of more than {MAX_ANCESTORS} runs, one in the other: \
                     does it run itself?"
                )));
            }
            Err(error) => return Err(missing(format!("failed to look at the runs above: {error}"))),
        }
        let run = child_run(planned.turn.run, child);
        let mut turn = alarm_turn(run, Alarm::Start, at);
        turn.create = Some(store::NewRun {
            namespace,
            workflow: name,
            version: workflow.document.version.clone(),
            labels: std::collections::BTreeMap::new(),
            input,
            parent: Some(Parent { run: planned.turn.run, child: child.0 }),
            idempotency: None,
            at,
        });
        planned.others.push(turn);
        planned.children.push(run);
        Ok(())
    }

    /// Status and snapshot, once all events of the turn are applied.
    fn close(&self, planned: &mut PlannedTurn) {
        let now = self.clock.now();
        planned.closed_at = now;
        let live = &mut planned.live;
        let status = stored_status(live.run.status());
        if status != live.status || planned.outcome.is_some() {
            live.status = status;
            planned.status_changed = true;
            let (output, error) = match &planned.outcome {
                Some(RunOutcome::Completed { output }) => (Some(json(output)), None),
                Some(RunOutcome::Faulted { error }) => (None, Some(json(error))),
                Some(RunOutcome::Cancelled { .. }) | None => (None, None),
            };
            let finished_at = status.is_final().then_some(now);
            planned.turn.summary =
                Some(SummaryChange { status, output, error, updated_at: now, finished_at });
        }
        let due = live.since_snapshot >= self.snapshot_events || live.weight > SNAPSHOT_BYTES;
        if due && !planned.turn.events.is_empty() && live.since_snapshot > 1 {
            let snapshot = live.run.snapshot();
            live.since_snapshot = 0;
            live.weight = snapshot.len();
            planned.turn.snapshot = Some(snapshot.into());
        }
    }
}

struct ChildWanted {
    child: ChildId,
    namespace: String,
    name: String,
    version: String,
    input: Bytes,
}

fn alarm_change(alarm: Alarm, at: Timestamp) -> TimerChange {
    TimerChange::Set { timer: alarm.timer(), at: at.plus(ALARM_DELAY_MS) }
}

fn alarm_turn(run: RunId, alarm: Alarm, at: Timestamp) -> Turn {
    let mut turn = Turn::of(run);
    turn.timers.push(alarm_change(alarm, at));
    turn
}

/// The last part of a JSON pointer, unescaped (RFC 6901 §4).
fn task_name(pointer: &str) -> String {
    let last = pointer.rsplit('/').next().unwrap_or_default();
    last.replace("~1", "/").replace("~0", "~")
}

fn no_grant_key() -> StepError {
    StepError {
        kind: error_type::CONFIGURATION.to_owned(),
        status: 500,
        title: "The server cannot sign grants".to_owned(),
        detail:
            "the step asks for an identity, and this server was started without a grant key: give it one \
                 (`sagewai server --grant-key FILE`) and retry the run"
                .to_owned(),
    }
}

fn stored_status(status: Status) -> RunStatus {
    match status {
        Status::Pending => RunStatus::Pending,
        Status::Running => RunStatus::Running,
        Status::Waiting => RunStatus::Waiting,
        Status::Suspended => RunStatus::Suspended,
        Status::Cancelling => RunStatus::Cancelling,
        Status::Completed => RunStatus::Completed,
        Status::Faulted => RunStatus::Faulted,
        Status::Cancelled => RunStatus::Cancelled,
    }
}
