//! `fork`: runs branches at the same time. The output is the array of theirs, or, when they compete, that of the first.

use protocol::step::StepError;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow::{Fork, TaskKind};

use crate::limits::{MAX_FORK_BRANCHES, MAX_VALUE_BYTES};
use crate::path::{Hop, Path};
use crate::scope::{fits, too_large};
use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};
use crate::value::Shared;
use crate::{error, fault};

/// Branches in progress.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ForkState {
    /// The outputs so far, in the document's order.
    outputs: Vec<Option<Shared>>,
    /// Branches that still run.
    open: usize,
    /// Bytes of JSON that the outputs to come may have, so that together they are one value that may be.
    bytes_left: usize,
}

/// Begins all branches with the task's input.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, task: &Fork) -> Result<Next, StepError> {
    let branches = task.branches.len();
    if branches > MAX_FORK_BRANCHES {
        return Err(error::limit(format!(
            "a fork may have {} branches, this one has {branches}",
            MAX_FORK_BRANCHES
        )));
    }
    let frame = turn.state.frame_mut(id);
    frame.work =
        Work::Fork(ForkState { outputs: vec![None; branches], open: branches, bytes_left: MAX_VALUE_BYTES });
    let (path, input) = (frame.path.clone(), frame.input.clone());
    if branches == 0 {
        return Ok(Next::Finish { frame: id, output: Value::Array(Vec::new()).into(), then: None });
    }
    for index in 0..branches {
        let branch = path.then(Hop::Body(index as u32));
        turn.open(Some(id), branch, input.clone(), Work::New);
    }
    Ok(Next::Wait)
}

/// A branch is over. An error in a branch that nothing in it catches is an error of the fork, competing or not.
pub(crate) fn branch_left(turn: &mut Turn<'_>, id: FrameId, branch: &Path, output: Shared) -> Next {
    let TaskKind::Fork(task) = &turn.task(id).kind else { unreachable!("the frame of a `fork`") };
    if task.compete {
        fault::remove_below(turn, id, &[]);
        return Next::Finish { frame: id, output, then: None };
    }
    let Work::Fork(state) = &mut turn.state.frame_mut(id).work else { unreachable!("the frame of a `fork`") };
    if !fits(&output, &mut state.bytes_left) {
        return turn.fault(id, too_large("the outputs of the branches together"));
    }
    if let Some(Hop::Body(index)) = branch.last() {
        state.outputs[index as usize] = Some(output);
    }
    state.open -= 1;
    if state.open > 0 {
        return Next::Wait;
    }
    let outputs = std::mem::take(&mut state.outputs);
    let output = outputs.into_iter().map(|output| output.map_or(Value::Null, |value| Value::clone(&value)));
    Next::Finish { frame: id, output: Value::Array(output.collect()).into(), then: None }
}
