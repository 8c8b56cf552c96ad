//! `for`: runs its tasks for each item of an array. The output of an iteration is the input of the next; that of the
//! last is the task's.

use protocol::step::StepError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow::{For, TaskKind};

use super::list;
use crate::error;
use crate::scope::Sees;
use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};
use crate::value::Shared;

/// A loop in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForState {
    /// The array.
    items: Shared,
    /// The item of the next iteration.
    next: u64,
}

impl ForState {
    /// Index of the iteration that runs.
    pub(crate) fn index(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// Evaluates the array and begins with its first item.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, task: &For) -> Result<Next, StepError> {
    let input = turn.state.frame(id).input.clone();
    let items = turn.expression(id, &task.in_, &input, Sees::DEFINITION)?;
    if !items.is_array() {
        return Err(error::unexpected(format!(
            "`for.in` must give an array; expression `{}` gave {}",
            task.in_.source(),
            kind_of(&items)
        )));
    }
    turn.state.frame_mut(id).work = Work::For(ForState { items: items.into(), next: 0 });
    iterate(turn, id, task, input)
}

/// The list of an iteration is over; `then: exit` in it ends the iteration, not the loop.
pub(crate) fn iteration_left(turn: &mut Turn<'_>, id: FrameId, output: Shared) -> Next {
    let TaskKind::For(task) = &turn.task(id).kind else { unreachable!("the frame of a `for`") };
    iterate(turn, id, task, output).unwrap_or_else(|error| turn.fault(id, error))
}

fn iterate(turn: &mut Turn<'_>, id: FrameId, task: &For, input: Shared) -> Result<Next, StepError> {
    let Work::For(state) = &turn.state.frame(id).work else { unreachable!("the frame of a `for`") };
    let index = state.next;
    let Some(item) = usize::try_from(index).ok().and_then(|index| state.items.get(index)).cloned() else {
        return Ok(Next::Finish { frame: id, output: input, then: None });
    };
    let number = Value::from(index);
    if let Some(condition) = &task.while_ {
        let locals = [(task.each.as_str(), &item), (task.at.as_str(), &number)];
        if !turn.holds(id, condition, &input, Sees { locals: &locals, ..Sees::DEFINITION })? {
            return Ok(Next::Finish { frame: id, output: input, then: None });
        }
    }
    if let Work::For(state) = &mut turn.state.frame_mut(id).work {
        state.next = index + 1;
    }
    let variables = vec![(task.each.clone(), item.into()), (task.at.clone(), number.into())];
    list::open(turn, id, false, variables, input);
    Ok(Next::Wait)
}

fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}
