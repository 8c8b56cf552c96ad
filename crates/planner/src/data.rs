//! Data flow (DSL, "data flow"): schemas and transformations of input, output and context.

use protocol::step::StepError;
use serde_json::Value;
use workflow::{FlowDirective, InputFilter, OutputFilter, Task};

use crate::action::TaskPhase;
use crate::outcome::RunError;
use crate::scope::{Sees, check_size};
use crate::state::{FrameId, Purpose, State, Work};
use crate::task::list;
use crate::turn::{Next, Turn};
use crate::value::Shared;
use crate::{error, fault, schema};

/// Begins the root list: the workflow's input, the first context, the workflow's timeout.
pub(crate) fn begin_run(turn: &mut Turn<'_>) -> Next {
    let raw_input = turn.state.input.clone();
    let filter = &turn.workflow.input;
    let taken = check_size(&raw_input, "the input")
        .and_then(|()| take(turn, State::ROOT, filter, &raw_input, Sees::WORKFLOW_INPUT, "workflow's input"));
    let input = match taken {
        Ok(input) => input,
        Err(error) => return Next::Fault { frame: State::ROOT, error: RunError::at(error, "/input") },
    };
    if let Err(error) = start_run_timeout(turn, &input) {
        return Next::Fault { frame: State::ROOT, error: RunError::at(error, "/timeout") };
    }
    turn.state.context = input.clone();
    turn.state.frame_mut(State::ROOT).raw_input = input;
    list::begin(turn, State::ROOT)
}

fn start_run_timeout(turn: &mut Turn<'_>, input: &Shared) -> Result<(), StepError> {
    let Some(reference) = &turn.workflow.timeout else {
        return Ok(());
    };
    let timeout = turn
        .workflow
        .timeout(reference)
        .ok_or_else(|| error::configuration("`timeout` names no entry of `use.timeouts`"))?;
    turn.state.frame_mut(State::ROOT).input = input.clone();
    let milliseconds = turn.milliseconds(State::ROOT, &timeout.after)?;
    turn.state.frame_mut(State::ROOT).timeout_ms = Some(milliseconds);
    turn.set_timer(State::ROOT, Purpose::Timeout, milliseconds);
    Ok(())
}

/// Checks and transforms the raw input of a task.
pub(crate) fn take_input(turn: &mut Turn<'_>, id: FrameId, task: &Task) -> Result<(), StepError> {
    let raw_input = turn.state.frame(id).raw_input.clone();
    let input = take(turn, id, &task.input, &raw_input, Sees::TASK_INPUT, "input")?;
    turn.state.frame_mut(id).input = input;
    Ok(())
}

fn take(
    turn: &mut Turn<'_>,
    id: FrameId,
    filter: &InputFilter,
    raw_input: &Shared,
    sees: Sees<'_>,
    what: &str,
) -> Result<Shared, StepError> {
    if let Some(schema) = &filter.schema {
        schema::check(schema, raw_input, what)?;
    }
    match &filter.from {
        None => Ok(raw_input.clone()),
        Some(from) => turn.value(id, from, raw_input, sees),
    }
}

/// Transforms a value with `as` and checks the result.
pub(crate) fn filter(
    turn: &mut Turn<'_>,
    id: FrameId,
    filter: &OutputFilter,
    raw: &Shared,
    sees: Sees<'_>,
    what: &str,
) -> Result<Shared, StepError> {
    let value = match &filter.as_ {
        None => raw.clone(),
        Some(as_) => turn.value(id, as_, raw, sees)?,
    };
    if let Some(schema) = &filter.schema {
        schema::check(schema, &value, what)?;
    }
    Ok(value)
}

/// A task has its raw output: transforms it, updates the context, and leaves.
pub(crate) fn finish(
    turn: &mut Turn<'_>,
    id: FrameId,
    raw_output: Shared,
    then: Option<FlowDirective>,
) -> Next {
    let task = turn.task(id);
    match try_finish(turn, id, task, &raw_output, then) {
        Ok((output, then)) => {
            turn.note(id, TaskPhase::Completed, None);
            Next::Leave { frame: id, output, then }
        }
        Err(error) => {
            fault::remove_below(turn, id, &[]);
            turn.fault(id, error)
        }
    }
}

fn try_finish(
    turn: &mut Turn<'_>,
    id: FrameId,
    task: &Task,
    raw_output: &Shared,
    then: Option<FlowDirective>,
) -> Result<(Shared, FlowDirective), StepError> {
    if matches!(turn.state.frame(id).work, Work::Step(_) | Work::Child(_)) {
        check_size(raw_output, "the output")?;
    }
    let raw: &Value = &raw_output.clone();
    let sees = Sees { raw_output: Some(raw), ..Sees::DEFINITION };
    let output = filter(turn, id, &task.output, raw_output, sees, "output")?;
    if task.export.as_.is_some() {
        let transformed: &Value = &output.clone();
        let sees = Sees { output: Some(transformed), ..sees };
        turn.state.context = filter(turn, id, &task.export, &output, sees, "exported context")?;
    }
    let then = then.unwrap_or_else(|| task.then.clone());
    check_target(turn, id, &then)?;
    Ok((output, then))
}

/// `then` may name tasks of the same list only (DSL, "task flow").
fn check_target(turn: &Turn<'_>, id: FrameId, then: &FlowDirective) -> Result<(), StepError> {
    let FlowDirective::Task(name) = then else {
        return Ok(());
    };
    let list =
        turn.state.frame(id).parent.filter(|parent| matches!(turn.state.frame(*parent).work, Work::List(_)));
    if list.is_some_and(|list| list::position_of(turn, list, name).is_some()) {
        return Ok(());
    }
    Err(error::configuration(format!("`then: {name}` names no task of the list that the task is in")))
}
