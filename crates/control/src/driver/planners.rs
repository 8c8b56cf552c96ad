//! The planners: they take runs with inputs from the schedule, load what is not cached, and plan one turn each.
//!
//! An expression of a document may keep a planner for up to 100 ms. So there are more planners than processors, and runs
//! whose last turn was long share a few of them.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use planner::{ChildId, Event, RunOutcome};
use protocol::id::{RunId, TimerId};
use store::{RunStatus, StoreError, Turn};

use super::committer::ToCommitter;
use super::input::{Alarm, Input, Origin};
use super::live::{LiveRun, LoadError};
use super::planned::PlannedTurn;
use super::schedule::Work;
use crate::core::Core;
use crate::error::{ControlError, SubmitError};

/// A turn longer than this makes its run a slow one, until it has a shorter turn.
const SLOW_TURN: Duration = Duration::from_millis(3);
/// How long a run waits when it could not be loaded, before it is tried again.
const LOAD_RETRY: Duration = Duration::from_millis(250);
/// Milliseconds after which a timer of a run is tried again whose document or history this program does not understand: an
/// update of the program may.
const UNLOADABLE_RETRY_MS: i64 = 60_000;

/// Plans for ever.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let work = core.schedule.take().await;
        let (run, slow) = (work.run, work.slow());
        // The planner is pure, so that a panic in it leaves nothing half done but the run, which is dropped.
        let planned = AssertUnwindSafe(plan(&core, work)).catch_unwind().await.unwrap_or_else(|_| {
            tracing::error!(%run, "the planner has panicked; the run is loaded again");
            core.schedule.give_back(run, None, VecDeque::new());
            None
        });
        core.schedule.planned(slow);
        if let Some(planned) = planned
            && core.committer.send(ToCommitter::Turn(Box::new(planned))).await.is_err()
        {
            return;
        }
    }
}

/// Plans one turn; `None` when the run cannot be loaded and its inputs are answered.
async fn plan(core: &Arc<Core>, work: Work) -> Option<PlannedTurn> {
    let Work { run, mut inputs, live, .. } = work;
    if let Some(Input::Create(_)) = inputs.front() {
        let Some(Input::Create(creation)) = inputs.pop_front() else { unreachable!("looked at above") };
        let begin = Instant::now();
        let mut planned = core.planning.create(run, *creation).await;
        planned.later = inputs;
        note_time(core, &mut planned, begin);
        return Some(planned);
    }
    let live = match live {
        Some(live) => live,
        None => match LiveRun::load(&*core.store, &core.planning.documents, run).await {
            Ok(live) => {
                core.metrics.runs_loaded.add(1);
                Box::new(live)
            }
            Err(error) => {
                give_up(core, run, inputs, error);
                return None;
            }
        },
    };
    let inputs = match resolve_alarms(core, &live, inputs).await {
        Ok(inputs) => inputs,
        Err((error, inputs)) => {
            give_up(core, run, inputs, error.into());
            return None;
        }
    };
    let begin = Instant::now();
    let mut planned = core.planning.turn(live, inputs).await;
    note_time(core, &mut planned, begin);
    Some(planned)
}

fn note_time(core: &Core, planned: &mut PlannedTurn, begin: Instant) {
    let took = begin.elapsed();
    core.metrics.plan_microseconds.observe_duration(took);
    planned.live.slow = took > SLOW_TURN;
}

/// Turns the alarms that need values of the store into what they stand for.
async fn resolve_alarms(
    core: &Core,
    live: &LiveRun,
    inputs: VecDeque<Input>,
) -> Result<VecDeque<Input>, (StoreError, VecDeque<Input>)> {
    let needs_values = |input: &Input| matches!(input, Input::Alarm(Alarm::Start | Alarm::Deliver));
    if !inputs.iter().any(needs_values) {
        return Ok(inputs);
    }
    let run = live.run.info().id;
    let values = match core.store.run_values(run).await {
        Ok(values) => values.unwrap_or_default(),
        Err(error) => return Err((error, inputs)),
    };
    let mut resolved = VecDeque::with_capacity(inputs.len() + 1);
    let mut version = live.version;
    for input in inputs {
        match (&input, live.parent) {
            (Input::Alarm(Alarm::Start), _) if version == 0 => {
                let input_value = serde_json::from_slice(&values.input).unwrap_or_default();
                let event = Event::Started { input: input_value, at: core.clock.now() };
                resolved.push_back(Input::Event { event, origin: Origin::Driver });
                version = 1;
            }
            (Input::Alarm(Alarm::Deliver), Some(parent)) if live.status.is_final() => {
                // The parent's turn clears the alarm.
                let (child, at) = (ChildId(parent.child), core.clock.now());
                let event = Event::ChildFinished { child, outcome: outcome(live.status, &values), at };
                core.schedule.push(parent.run, Input::Event { event, origin: Origin::Child(run) });
                continue;
            }
            _ => {}
        }
        resolved.push_back(input);
    }
    Ok(resolved)
}

/// How a stored run has ended.
fn outcome(status: RunStatus, values: &store::RunValues) -> RunOutcome {
    let parsed = |text: &Option<bytes::Bytes>| {
        text.as_ref().and_then(|text| serde_json::from_slice::<serde_json::Value>(text).ok())
    };
    match status {
        RunStatus::Completed => {
            RunOutcome::Completed { output: Arc::new(parsed(&values.output).unwrap_or_default()) }
        }
        RunStatus::Faulted => {
            let error = values.error.as_ref().and_then(|text| serde_json::from_slice(text).ok());
            match error {
                Some(error) => RunOutcome::Faulted { error },
                None => RunOutcome::Cancelled { reason: "its error is not readable".to_owned() },
            }
        }
        _ => RunOutcome::Cancelled { reason: "it was cancelled".to_owned() },
    }
}

/// Answers the inputs of a run that cannot be loaded. What must not be lost is tried again when the store was the cause.
fn give_up(core: &Arc<Core>, run: RunId, inputs: VecDeque<Input>, error: LoadError) {
    let transient = matches!(error, LoadError::Store(_));
    if !matches!(error, LoadError::Unknown(_)) {
        tracing::error!(%run, %error, "failed to load a run");
    }
    let mut again = VecDeque::new();
    for input in inputs {
        match input {
            Input::Create(creation) => {
                let _ = creation.reply.send(Err(SubmitError::Unavailable(error.to_string())));
            }
            Input::Event { event, origin: Origin::Client(reply) } => {
                let _ = reply.send(Err(match &error {
                    LoadError::Unknown(run) => ControlError::NoSuchRun(*run),
                    LoadError::Store(error) => ControlError::Unavailable(error.to_string()),
                    LoadError::Document(_) | LoadError::Replay { .. } => {
                        ControlError::Conflict(format!("{} is refused: {error}", event.name()))
                    }
                }));
            }
            input if transient => again.push_back(input),
            Input::Event { origin: Origin::Child(child), .. } => {
                // Without its parent, a child has nobody to tell.
                let mut turn = Turn::of(child);
                let timer = Alarm::Deliver.timer();
                turn.timers.push(store::TimerChange::Clear { timer });
                core.bell.done(child, timer);
                let _ = core.committer.try_send(ToCommitter::Lone(turn));
            }
            Input::Event { origin: Origin::Report { attempt, .. }, .. } => core.leases.unclaim(attempt),
            Input::Event { origin: Origin::Timer(timer), .. } => postpone(core, run, timer),
            Input::Alarm(alarm) => postpone(core, run, alarm.timer()),
            Input::Event { .. } => {}
        }
    }
    if again.is_empty() {
        core.schedule.give_back(run, None, again);
        return;
    }
    let core = Arc::clone(core);
    tokio::spawn(async move {
        tokio::time::sleep(LOAD_RETRY).await;
        core.schedule.give_back(run, None, again);
    });
}

/// Sets a timer of a run that cannot be loaded to a later time: it was due, and would be found due again and again.
fn postpone(core: &Arc<Core>, run: RunId, timer: TimerId) {
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let mut turn = Turn::of(run);
        let at = core.clock.now().plus(UNLOADABLE_RETRY_MS);
        turn.timers.push(store::TimerChange::Set { timer, at });
        if core.committer.send(ToCommitter::Postpone(turn, timer)).await.is_err() {
            core.bell.done(run, timer);
        }
    });
}
