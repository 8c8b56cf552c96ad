//! A child run has ended.

use super::{cancel_requested, expect, is_live};
use crate::error;
use crate::event::{ChildId, Event};
use crate::outcome::{RunError, RunOutcome};
use crate::rejected::Rejected;
use crate::state::Todo;
use crate::turn::Turn;
use crate::value::Shared;

pub(super) fn accept(
    turn: &mut Turn<'_>,
    event: &Event,
    child: ChildId,
    outcome: &RunOutcome,
) -> Result<(), Rejected> {
    expect(turn, event, is_live)?;
    let frame = turn.state.children.remove(&child).ok_or(Rejected::ChildNotOpen(child))?;
    if cancel_requested::end_if_stopped(turn) {
        return Ok(());
    }
    let instance = turn.task(frame).pointer.as_str();
    let todo = match outcome {
        RunOutcome::Completed { output } => Todo::Finish(frame, Shared::from(output.clone())),
        // The error is the child's, the place is the parent's: where in the child it was is told in the detail.
        RunOutcome::Faulted { error } => {
            let place = format!("in the child run, at {}", error.instance);
            let detail = if error.detail.is_empty() { place } else { format!("{} ({place})", error.detail) };
            let instance = instance.to_owned();
            Todo::Fault(frame, RunError { detail, instance, ..error.clone() })
        }
        RunOutcome::Cancelled { .. } => {
            Todo::Fault(frame, RunError::at(error::stopped("child run"), instance))
        }
    };
    turn.state.agenda.push_back(todo);
    Ok(())
}
