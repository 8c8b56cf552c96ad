//! A list of tasks: one after the other, the output of each being the input of the next.

use serde::{Deserialize, Serialize};
use workflow::FlowDirective;

use crate::path::Hop;
use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};
use crate::value::Shared;

/// A list in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ListState {
    /// Whether it is the `catch.do` of its task rather than its body.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub(crate) in_catch: bool,
    /// Index of the task that runs.
    pub(crate) position: u32,
    /// Variables that the tasks of the list see: of a loop, or the error of a catch.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub(crate) variables: Vec<(String, Shared)>,
}

/// Puts a list of a frame's task on the agenda.
pub(crate) fn open(
    turn: &mut Turn<'_>,
    owner: FrameId,
    in_catch: bool,
    variables: Vec<(String, Shared)>,
    input: Shared,
) {
    let path = turn.state.frame(owner).path.clone();
    turn.open(Some(owner), path, input, Work::List(ListState { in_catch, position: 0, variables }));
}

/// Begins the first task. The list keeps its input no longer than that.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId) -> Next {
    let frame = turn.state.frame_mut(id);
    let input = std::mem::replace(&mut frame.raw_input, Shared::null());
    frame.input = Shared::null();
    enter(turn, id, 0, input)
}

/// A task of the list is over.
pub(crate) fn entry_left(turn: &mut Turn<'_>, id: FrameId, output: Shared, then: &FlowDirective) -> Next {
    let position = state(turn, id).position;
    match then {
        FlowDirective::Continue => enter(turn, id, position + 1, output),
        FlowDirective::Exit | FlowDirective::End => over(id, output),
        FlowDirective::Task(name) => match position_of(turn, id, name) {
            Some(position) => enter(turn, id, position, output),
            None => over(id, output),
        },
    }
}

/// Index of the task of that name in the list.
pub(crate) fn position_of(turn: &Turn<'_>, id: FrameId, name: &str) -> Option<u32> {
    let in_catch = state(turn, id).in_catch;
    let list = turn.state.frame(id).path.list(turn.workflow, in_catch)?;
    list.position(name).and_then(|index| u32::try_from(index).ok())
}

fn enter(turn: &mut Turn<'_>, id: FrameId, position: u32, input: Shared) -> Next {
    let in_catch = state(turn, id).in_catch;
    let path = &turn.state.frame(id).path;
    let length = path.list(turn.workflow, in_catch).map_or(0, |list| list.len());
    if position as usize >= length {
        return over(id, input);
    }
    let entry = path.then(if in_catch { Hop::Catch(position) } else { Hop::Body(position) });
    if let Work::List(state) = &mut turn.state.frame_mut(id).work {
        state.position = position;
    }
    turn.open(Some(id), entry, input, Work::New);
    Next::Wait
}

fn over(id: FrameId, output: Shared) -> Next {
    Next::Leave { frame: id, output, then: FlowDirective::Continue }
}

fn state<'t>(turn: &'t Turn<'_>, id: FrameId) -> &'t ListState {
    match &turn.state.frame(id).work {
        Work::List(state) => state,
        _ => unreachable!("the frame of a list"),
    }
}
