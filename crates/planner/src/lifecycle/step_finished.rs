//! A step has ended.

use protocol::id::StepId;
use protocol::step::StepOutcome;

use super::{cancel_requested, expect, is_live};
use crate::error;
use crate::event::Event;
use crate::outcome::RunError;
use crate::rejected::Rejected;
use crate::state::{FrameId, Todo};
use crate::turn::Turn;
use crate::value::Shared;

pub(super) fn accept(
    turn: &mut Turn<'_>,
    event: &Event,
    step: StepId,
    outcome: &StepOutcome,
) -> Result<(), Rejected> {
    expect(turn, event, is_live)?;
    if turn.state.detached.remove(&step) {
        cancel_requested::end_if_stopped(turn);
        return Ok(());
    }
    let frame = turn.state.steps.remove(&step).ok_or(Rejected::StepNotOpen(step))?;
    if cancel_requested::end_if_stopped(turn) {
        return Ok(());
    }
    let todo = match outcome {
        StepOutcome::Completed { output, .. } => Todo::Finish(frame, Shared::from(output.clone())),
        StepOutcome::Failed { error } => Todo::Fault(frame, at(turn, frame, error.clone())),
        StepOutcome::Cancelled => Todo::Fault(frame, at(turn, frame, error::stopped("step"))),
    };
    turn.state.agenda.push_back(todo);
    Ok(())
}

fn at(turn: &Turn<'_>, frame: FrameId, error: protocol::step::StepError) -> RunError {
    RunError::at(error, turn.task(frame).pointer.as_str())
}
