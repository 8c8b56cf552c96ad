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
    items: Items,
    /// The item of the next iteration.
    next: u64,
}

impl ForState {
    /// Index of the iteration that runs.
    pub(crate) fn index(&self) -> u64 {
        self.next.saturating_sub(1)
    }
}

/// The items of a loop.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Items {
    /// An array.
    Array(Shared),
    /// Whole numbers in a row, as `range` gives them: a loop that counts does not carry all its numbers along.
    Range { first: i64, count: u64 },
}

impl Items {
    fn new(items: Vec<Value>) -> Items {
        let first = items.first().and_then(Value::as_i64);
        let follows = |first: i64| {
            let numbers = (0..).map(|index| first.checked_add(index));
            items.iter().zip(numbers).all(|(item, number)| number.is_some() && item.as_i64() == number)
        };
        match first {
            Some(first) if follows(first) => Items::Range { first, count: items.len() as u64 },
            _ => Items::Array(Value::Array(items).into()),
        }
    }

    fn at(&self, index: u64) -> Option<Value> {
        match self {
            Items::Array(items) => items.get(usize::try_from(index).ok()?).cloned(),
            Items::Range { first, count } => {
                let number = i64::try_from(index).ok().filter(|_| index < *count);
                number.map(|index| Value::from(first + index))
            }
        }
    }
}

/// Evaluates the array and begins with its first item.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, task: &For) -> Result<Next, StepError> {
    let input = turn.state.frame(id).input.clone();
    let items = turn.expression(id, &task.in_, &input, Sees::DEFINITION)?;
    let Value::Array(items) = items else {
        return Err(error::unexpected(format!(
            "`for.in` must give an array; expression `{}` gave {}",
            task.in_.source(),
            kind_of(&items)
        )));
    };
    turn.state.frame_mut(id).work = Work::For(ForState { items: Items::new(items), next: 0 });
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
    let Some(item) = state.items.at(index) else {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_in_a_row_are_kept_as_a_range_and_nothing_else_is() {
        let items = |value: Value| Items::new(value.as_array().cloned().expect("an array"));
        assert_eq!(items(json!([3, 4, 5])), Items::Range { first: 3, count: 3 });
        for array in
            [json!([]), json!([1, 3]), json!([1.0, 2.0]), json!([1, "2"]), json!([2, 1]), json!([true])]
        {
            assert!(matches!(items(array.clone()), Items::Array(_)), "{array}");
        }
        for array in [json!([-1, 0, 1]), json!([7]), json!([i64::MAX]), json!(["a", "b"]), json!([])] {
            let (expected, items) = (array.as_array().cloned().expect("an array"), items(array));
            let all: Vec<Value> = (0..).map_while(|index| items.at(index)).collect();
            assert_eq!(all, expected);
        }
    }
}
