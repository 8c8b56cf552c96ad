//! A faulted run goes on from the task that failed, and from the tasks that were stopped because of it.

use std::collections::BTreeSet;

use super::expect;
use crate::event::Event;
use crate::rejected::Rejected;
use crate::state::{FrameId, Phase, Purpose, Todo};
use crate::task;
use crate::turn::Turn;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event) -> Result<(), Rejected> {
    expect(turn, event, |phase| *phase == Phase::Faulted)?;
    turn.state.phase = Phase::Active;
    let beginning: BTreeSet<FrameId> = turn
        .state
        .agenda
        .iter()
        .filter_map(|todo| if let Todo::Begin(frame) = todo { Some(*frame) } else { None })
        .collect();
    // Limits of time begin anew: the time between the fault and the retry is nobody's.
    for id in turn.state.frames.keys().copied().collect::<Vec<_>>() {
        if beginning.contains(&id) {
            continue;
        }
        if let Some(milliseconds) = turn.state.frame(id).timeout_ms {
            turn.set_timer(id, Purpose::Timeout, milliseconds);
        }
        task::resume_attempt(turn, id);
    }
    Ok(())
}
