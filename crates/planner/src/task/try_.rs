//! `try`: runs tasks; an error in them is caught, and then retried, handled, or passed on.

use protocol::id::Timestamp;
use protocol::step::StepError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow::expression::Template;
use workflow::{Catch, ErrorFilter, RetryPolicy, TaskKind, Try};

use super::list;
use crate::action::TaskPhase;
use crate::outcome::RunError;
use crate::scope::{Sees, as_text};
use crate::state::{FrameId, Purpose, Todo, Work};
use crate::turn::{Next, Turn};
use crate::{backoff, error, fault};

/// A `try` in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct TryState {
    /// The attempt that runs, from 1.
    attempt: u32,
    /// When the first attempt began.
    since: Timestamp,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    /// The tasks run.
    Trying,
    /// The next attempt waits for its time.
    Delayed,
    /// `catch.do` runs: its errors are not caught here.
    Handling,
}

impl TryState {
    /// Whether an error from inside may be caught.
    pub(crate) fn catches(&self) -> bool {
        self.stage == Stage::Trying
    }

    /// Whether it waits for the time of the next attempt.
    pub(crate) fn is_delayed(&self) -> bool {
        self.stage == Stage::Delayed
    }
}

/// What becomes of an error from inside.
pub(crate) enum Verdict {
    /// It is not for this `try`, or retries are used up and there is nothing to handle it.
    PassOn,
    /// The tasks run again after so many milliseconds.
    Retry { delay_ms: i64 },
    /// `catch.do` runs.
    Handle,
}

/// Runs the tasks for the first time.
pub(crate) fn begin<'a>(turn: &mut Turn<'a>, id: FrameId, task: &'a Try) -> Result<Next, StepError> {
    let since = turn.at;
    turn.state.frame_mut(id).work = Work::Try(TryState { attempt: 1, since, stage: Stage::Trying });
    attempt(turn, id, task)?;
    Ok(Next::Wait)
}

fn attempt<'a>(turn: &mut Turn<'a>, id: FrameId, task: &'a Try) -> Result<(), StepError> {
    limit_attempt(turn, id, task)?;
    let input = turn.state.frame(id).input.clone();
    list::open(turn, id, false, Vec::new(), input);
    Ok(())
}

fn limit_attempt<'a>(turn: &mut Turn<'a>, id: FrameId, task: &'a Try) -> Result<(), StepError> {
    if let Some(policy) = policy(turn, &task.catch)?
        && let Some(limit) = &policy.limit_attempt_duration
    {
        let milliseconds = turn.milliseconds(id, limit)?;
        let number = state(turn, id).attempt;
        turn.set_timer(id, Purpose::Attempt { number }, milliseconds);
    }
    Ok(())
}

/// Sets the timer of an attempt anew when a faulted run goes on; does nothing for any other frame.
pub(crate) fn resume_attempt(turn: &mut Turn<'_>, id: FrameId) {
    if matches!(&turn.state.frame(id).work, Work::Try(state) if state.catches()) {
        let task = task(turn, id);
        if let Err(error) = limit_attempt(turn, id, task) {
            let instance = turn.task(id).pointer.as_str();
            turn.state.agenda.push_front(Todo::Fault(id, RunError::at(error, instance)));
        }
    }
}

/// Judges an error from inside.
///
/// # Errors
/// When a condition of the document cannot be evaluated.
pub(crate) fn judge(turn: &mut Turn<'_>, id: FrameId, raised: &RunError) -> Result<Verdict, StepError> {
    let catch = &task(turn, id).catch;
    let described = raised.to_json();
    let locals = [(catch.as_.as_str(), &described)];
    let sees = Sees { locals: &locals, ..Sees::DEFINITION };
    let input = turn.state.frame(id).input.clone();
    if let Some(filter) = &catch.errors
        && !matches(turn, id, filter, raised)?
    {
        return Ok(Verdict::PassOn);
    }
    if let Some(when) = &catch.when
        && !turn.holds(id, when, &input, sees)?
    {
        return Ok(Verdict::PassOn);
    }
    if let Some(except) = &catch.except_when
        && turn.holds(id, except, &input, sees)?
    {
        return Ok(Verdict::PassOn);
    }
    let Some(policy) = policy(turn, catch)? else {
        return Ok(Verdict::Handle);
    };
    if let Some(delay_ms) = retry_delay(turn, id, policy, &input, sees)? {
        return Ok(Verdict::Retry { delay_ms });
    }
    // Retries that are used up must not turn an error into a success: without `do` it goes on its way.
    Ok(if catch.do_.is_empty() { Verdict::PassOn } else { Verdict::Handle })
}

/// The delay before the next attempt, or `None` when there is to be none.
fn retry_delay(
    turn: &mut Turn<'_>,
    id: FrameId,
    policy: &RetryPolicy,
    input: &Value,
    sees: Sees<'_>,
) -> Result<Option<i64>, StepError> {
    let TryState { attempt: retry, since, .. } = *state(turn, id);
    if policy.limit_attempts.is_some_and(|limit| retry > limit) {
        return Ok(None);
    }
    if let Some(when) = &policy.when
        && !turn.holds(id, when, input, sees)?
    {
        return Ok(None);
    }
    if let Some(except) = &policy.except_when
        && turn.holds(id, except, input, sees)?
    {
        return Ok(None);
    }
    let base = match &policy.delay {
        Some(delay) => turn.milliseconds(id, delay)?,
        None => 0,
    };
    let jitter = match &policy.jitter {
        Some((from, to)) => Some((turn.milliseconds(id, from)?, turn.milliseconds(id, to)?)),
        None => None,
    };
    let seed = (turn.info.id, id.0);
    let delay_ms = backoff::delay_ms(base, policy.backoff, jitter, retry, seed);
    if let Some(limit) = &policy.limit_duration {
        let limit = turn.milliseconds(id, limit)?;
        if turn.at.0.saturating_sub(since.0).saturating_add(delay_ms) > limit {
            return Ok(None);
        }
    }
    Ok(Some(delay_ms))
}

/// Does what the verdict on an error says; everything inside the `try` is gone already.
pub(crate) fn take(turn: &mut Turn<'_>, id: FrameId, verdict: &Verdict, raised: &RunError) -> Next {
    turn.clear_timers(|timer| timer.frame == id && matches!(timer.purpose, Purpose::Attempt { .. }));
    match verdict {
        Verdict::PassOn => unreachable!("an error that is passed on is not taken"),
        Verdict::Retry { delay_ms } => {
            let retry = state(turn, id).attempt;
            let cause = if raised.title.is_empty() { &raised.kind } else { &raised.title };
            let detail = format!("retry {retry} in {} s: {cause}", *delay_ms as f64 / 1000.0);
            turn.note(id, TaskPhase::Retried, Some(detail));
            state_mut(turn, id).stage = Stage::Delayed;
            if *delay_ms == 0 {
                return delay_over(turn, id);
            }
            turn.set_timer(id, Purpose::Retry, *delay_ms);
            Next::Wait
        }
        Verdict::Handle => {
            let catch = &task(turn, id).catch;
            state_mut(turn, id).stage = Stage::Handling;
            let input = turn.state.frame(id).input.clone();
            let variables = vec![(catch.as_.clone(), raised.to_json().into())];
            list::open(turn, id, true, variables, input);
            Next::Wait
        }
    }
}

/// The time of the next attempt has come.
pub(crate) fn delay_over(turn: &mut Turn<'_>, id: FrameId) -> Next {
    match &mut turn.state.frame_mut(id).work {
        Work::Try(state) if state.stage == Stage::Delayed => {
            state.stage = Stage::Trying;
            state.attempt += 1;
        }
        _ => return Next::Wait,
    }
    let task = task(turn, id);
    match attempt(turn, id, task) {
        Ok(()) => Next::Wait,
        Err(error) => turn.fault(id, error),
    }
}

/// An attempt took longer than the policy allows: an error from inside, as if a task had raised it.
pub(crate) fn attempt_timed_out(turn: &mut Turn<'_>, id: FrameId, number: u32) -> Next {
    match &turn.state.frame(id).work {
        Work::Try(state) if state.stage == Stage::Trying && state.attempt == number => {}
        _ => return Next::Wait,
    }
    let task = turn.task(id);
    let milliseconds = match policy(turn, &self::task(turn, id).catch) {
        Ok(Some(RetryPolicy { limit_attempt_duration: Some(limit), .. })) => turn.milliseconds(id, limit),
        _ => Ok(0),
    };
    let error = error::timeout("attempt", milliseconds.unwrap_or_default());
    fault::raise_inside(turn, id, RunError::at(error, task.pointer.as_str()))
}

/// Whether each field that the filter states is equal to the error's.
fn matches(
    turn: &mut Turn<'_>,
    id: FrameId,
    filter: &ErrorFilter,
    raised: &RunError,
) -> Result<bool, StepError> {
    if filter.status.is_some_and(|status| status != i64::from(raised.status)) {
        return Ok(false);
    }
    if let Some(template) = &filter.type_ {
        let wanted = field(turn, id, template)?;
        if standard_type(&wanted) != standard_type(&raised.kind) {
            return Ok(false);
        }
    }
    let fields = [
        (&filter.instance, &raised.instance),
        (&filter.title, &raised.title),
        (&filter.detail, &raised.detail),
    ];
    for (template, actual) in fields {
        if let Some(template) = template
            && field(turn, id, template)? != *actual
        {
            return Ok(false);
        }
    }
    Ok(true)
}

fn field(turn: &mut Turn<'_>, id: FrameId, template: &Template) -> Result<String, StepError> {
    let input = turn.state.frame(id).input.clone();
    Ok(as_text(&*turn.value(id, template, &input, Sees::DEFINITION)?))
}

/// The standard error types have had three addresses; the specification's own examples and conformance features mix them.
fn standard_type(uri: &str) -> &str {
    const ADDRESSES: [&str; 3] = [
        "https://serverlessworkflow.io/spec/1.0.0/errors/",
        "https://serverlessworkflow.io/dsl/errors/types/",
        "https://serverlessworkflow.io.io/dsl/errors/types/",
    ];
    ADDRESSES.iter().find_map(|address| uri.strip_prefix(address)).unwrap_or(uri)
}

fn policy<'a>(turn: &Turn<'a>, catch: &'a Catch) -> Result<Option<&'a RetryPolicy>, StepError> {
    let Some(reference) = &catch.retry else {
        return Ok(None);
    };
    let policy = turn
        .workflow
        .retry(reference)
        .ok_or_else(|| error::configuration("`catch.retry` names no entry of `use.retries`"))?;
    Ok(Some(policy))
}

fn task<'a>(turn: &Turn<'a>, id: FrameId) -> &'a Try {
    match &turn.task(id).kind {
        TaskKind::Try(task) => task,
        _ => unreachable!("the frame of a `try`"),
    }
}

fn state<'t>(turn: &'t Turn<'_>, id: FrameId) -> &'t TryState {
    match &turn.state.frame(id).work {
        Work::Try(state) => state,
        _ => unreachable!("the frame of a `try`"),
    }
}

fn state_mut<'t>(turn: &'t mut Turn<'_>, id: FrameId) -> &'t mut TryState {
    match &mut turn.state.frame_mut(id).work {
        Work::Try(state) => state,
        _ => unreachable!("the frame of a `try`"),
    }
}
