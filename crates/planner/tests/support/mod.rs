//! A run under test: one story told twice, by a run that lives on and by one that is restored before every event.

#![allow(dead_code, clippy::allow_attributes, reason = "each test program uses a part of it")]

pub(crate) mod documents;
pub(crate) mod random;
pub(crate) mod stories;

use std::fmt::Write as _;
use std::sync::Arc;

use planner::{Action, ChildId, Event, Rejected, Run, RunError, RunInfo, RunOutcome, Status, TaskNote};
use protocol::id::{RunId, StepId, TimerId, Timestamp};
use protocol::step::{StepError, StepOutcome};
use serde_json::Value;
use workflow::Workflow;

/// 2026-01-01T00:00:00Z, when every run under test starts.
pub(crate) const START: Timestamp = Timestamp(1_767_225_600_000);

pub(crate) fn info() -> RunInfo {
    RunInfo {
        id: RunId(uuid::Uuid::from_u128(0x0190_0000_0000_7000_8000_0000_0000_0001)),
        namespace: "test".to_owned(),
        workflow: "under-test".to_owned(),
        version: "1.0.0".to_owned(),
    }
}

pub(crate) fn parse(document: &str) -> Arc<Workflow> {
    match Workflow::parse(document) {
        Ok(workflow) => Arc::new(workflow),
        Err(diagnostics) => panic!("the document is refused: {diagnostics:#?}"),
    }
}

/// A run and its twin, which is written to a snapshot and read back before every event.
pub(crate) struct Twins {
    run: Run,
    twin: Run,
    pub(crate) now: Timestamp,
    pub(crate) timers: std::collections::BTreeMap<u32, Timestamp>,
}

impl Twins {
    pub(crate) fn new(workflow: Arc<Workflow>) -> Self {
        let run = Run::new(info(), workflow);
        Twins { twin: run.clone(), run, now: START, timers: Default::default() }
    }

    pub(crate) fn status(&self) -> Status {
        self.run.status()
    }

    pub(crate) fn snapshot(&self) -> Vec<u8> {
        self.run.snapshot()
    }

    /// Applies an event to both and holds them to the same answer and the same state.
    pub(crate) fn apply(&mut self, event: &Event) -> Result<Vec<Action>, Rejected> {
        let before = self.run.snapshot();
        self.twin = Run::restore(info(), Arc::clone(self.run.workflow()), &before)
            .expect("a snapshot can be read back");
        assert_eq!(text(&self.twin.snapshot()), text(&before), "a restored run writes the same snapshot");
        let answer = self.run.apply(event);
        assert_eq!(self.twin.apply(event), answer, "a restored run gives the same answer to {event:?}");
        let after = self.run.snapshot();
        assert_eq!(text(&self.twin.snapshot()), text(&after), "and has the same state after {event:?}");
        match &answer {
            Err(_) => {
                assert_eq!(text(&before), text(&after), "a rejected event changed the state: {event:?}")
            }
            Ok(actions) => self.keep_timers(actions),
        }
        answer
    }

    fn keep_timers(&mut self, actions: &[Action]) {
        for action in actions {
            match action {
                Action::SetTimer { timer, at } => drop(self.timers.insert(timer.0, *at)),
                Action::ClearTimer { timer } => drop(self.timers.remove(&timer.0)),
                _ => {}
            }
        }
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a snapshot is JSON")
}

/// The documents' short names of the standard error types.
pub(crate) fn error(status: u16, kind: &str, title: &str) -> StepError {
    StepError {
        kind: format!("https://serverlessworkflow.io/spec/1.0.0/errors/{kind}"),
        status,
        title: title.to_owned(),
        detail: String::new(),
    }
}

pub(crate) fn completed(step: u32, output: Value, at: Timestamp) -> Event {
    Event::StepFinished {
        step: StepId(step),
        outcome: StepOutcome::Completed { output, artifacts: Vec::new() },
        at,
    }
}

pub(crate) fn failed(step: u32, error: StepError, at: Timestamp) -> Event {
    Event::StepFinished { step: StepId(step), outcome: StepOutcome::Failed { error }, at }
}

/// An event from a line of a scenario, such as `finish 1 {"x": 1}` or `+500 cancel because`.
pub(crate) fn event(line: &str, twins: &mut Twins) -> Result<Event, String> {
    let mut line = line.trim();
    if let Some((delay, rest)) = line.strip_prefix('+').and_then(|rest| rest.split_once(' ')) {
        let delay: i64 = delay.parse().map_err(|_| format!("`+{delay}` is no number of milliseconds"))?;
        twins.now = twins.now.plus(delay);
        line = rest;
    }
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    let at = twins.now;
    match word {
        "start" => Ok(Event::Started { input: json(rest)?, at }),
        "finish" => {
            let (step, output) = numbered(rest)?;
            Ok(completed(step, json(output)?, at))
        }
        "fail" => {
            let (step, rest) = numbered(rest)?;
            Ok(failed(step, step_error(rest)?, at))
        }
        "stopped" => {
            let step = StepId(numbered(rest)?.0);
            Ok(Event::StepFinished { step, outcome: StepOutcome::Cancelled, at })
        }
        "child" => {
            let (child, rest) = numbered(rest)?;
            let (word, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            let outcome = match word {
                "completed" => RunOutcome::Completed { output: json(rest)?.into() },
                "faulted" => RunOutcome::Faulted { error: RunError::at(step_error(rest)?, "/do/0/inner") },
                "cancelled" => RunOutcome::Cancelled { reason: rest.to_owned() },
                other => return Err(format!("a child does not end as `{other}`")),
            };
            Ok(Event::ChildFinished { child: ChildId(child), outcome, at })
        }
        "timer" => {
            let timer = numbered(rest)?.0;
            if let Some(due) = twins.timers.get(&timer) {
                twins.now = twins.now.max(*due);
            }
            Ok(Event::TimerFired { timer: TimerId(timer), at: twins.now })
        }
        "cancel" => Ok(Event::CancelRequested { reason: rest.to_owned(), at }),
        "suspend" => Ok(Event::SuspendRequested { at }),
        "resume" => Ok(Event::ResumeRequested { at }),
        "retry" => Ok(Event::RetryRequested { at }),
        "continue" => Ok(Event::Continued { at }),
        other => Err(format!("`{other}` is no event of a scenario")),
    }
}

fn numbered(text: &str) -> Result<(u32, &str), String> {
    let (number, rest) = text.split_once(' ').unwrap_or((text, ""));
    Ok((number.parse().map_err(|_| format!("`{number}` is no number"))?, rest))
}

fn json(text: &str) -> Result<Value, String> {
    if text.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_str(text).map_err(|cause| format!("`{text}` is no JSON: {cause}"))
}

/// `503 communication Service unavailable`
fn step_error(text: &str) -> Result<StepError, String> {
    let mut words = text.splitn(3, ' ');
    let status = words.next().unwrap_or_default();
    let status = status.parse().map_err(|_| format!("`{status}` is no status"))?;
    Ok(error(status, words.next().unwrap_or("runtime"), words.next().unwrap_or("Failed")))
}

/// Actions of one answer that a story tells in full.
const MAX_TOLD: usize = 40;

/// What the planner answered, as lines of a scenario.
pub(crate) fn tell(answer: &Result<Vec<Action>, Rejected>, now: Timestamp) -> String {
    let mut lines = String::new();
    match answer {
        Err(rejected) => {
            let _ = writeln!(lines, "rejected: {rejected}");
        }
        Ok(actions) => {
            let told: Vec<String> = actions.iter().map(|action| tell_action(action, now)).collect();
            if told.len() > MAX_TOLD {
                let (first, last) = (&told[..3], &told[told.len() - 3..]);
                let left_out = told.len() - 6;
                let _ = writeln!(lines, "{}\n… {left_out} more\n{}", first.join("\n"), last.join("\n"));
            } else {
                for line in told {
                    let _ = writeln!(lines, "{line}");
                }
            }
        }
    }
    lines
}

fn tell_action(action: &Action, now: Timestamp) -> String {
    match action {
        Action::StartStep { step, spec } => {
            let spec = serde_json::to_value(spec).expect("a spec is JSON");
            let mut spec = spec.as_object().cloned().expect("a spec is an object");
            let task = spec.shift_remove("task").unwrap_or_default();
            format!("start step {step} {} {}", task.as_str().unwrap_or_default(), Value::Object(spec))
        }
        Action::CancelStep { step } => format!("cancel step {step}"),
        Action::StartChild { child, namespace, name, version, input, awaited } => {
            let how = if *awaited { "" } else { " not awaited" };
            format!("start child {child} {namespace}/{name}@{version} {input}{how}")
        }
        Action::CancelChild { child } => format!("cancel child {child}"),
        Action::SetTimer { timer, at } => format!("set timer {} in {} ms", timer.0, at.0 - now.0),
        Action::ClearTimer { timer } => format!("clear timer {}", timer.0),
        Action::Yield => "yield".to_owned(),
        Action::Note(note) => tell_note(note),
        Action::Finish(RunOutcome::Completed { output }) => format!("end completed {output}"),
        Action::Finish(RunOutcome::Faulted { error }) => format!("end faulted {}", error.to_json()),
        Action::Finish(RunOutcome::Cancelled { reason }) => format!("end cancelled {reason}"),
    }
}

fn tell_note(note: &TaskNote) -> String {
    let phase = serde_json::to_value(note.phase).expect("a phase is JSON");
    let mut line = format!("{} {}", phase.as_str().unwrap_or_default(), note.task);
    if let Some(iteration) = note.iteration {
        let _ = write!(line, " #{iteration}");
    }
    if let Some(step) = note.step {
        let _ = write!(line, " (step {step})");
    }
    if let Some(detail) = &note.detail {
        let _ = write!(line, ": {detail}");
    }
    line
}
