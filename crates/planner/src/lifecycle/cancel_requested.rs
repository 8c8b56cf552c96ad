//! Someone wants the run to end: its steps and child runs are told to stop, and it ends when they have.

use super::expect;
use crate::action::Action;
use crate::ending;
use crate::event::Event;
use crate::limits::CANCEL_GRACE_MS;
use crate::rejected::Rejected;
use crate::state::{Phase, Purpose, State};
use crate::turn::Turn;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event, reason: &str) -> Result<(), Rejected> {
    expect(turn, event, |phase| matches!(phase, Phase::Pending | Phase::Active | Phase::Suspended))?;
    turn.state.agenda.clear();
    turn.state.yielded = false;
    turn.clear_timers(|_| true);
    ending::note_cancelled(turn);
    turn.state.phase = Phase::Cancelling { reason: reason.to_owned() };
    let steps = turn.state.steps.keys().chain(&turn.state.detached);
    turn.actions.extend(steps.map(|&step| Action::CancelStep { step }));
    let children = turn.state.children.keys();
    turn.actions.extend(children.map(|&child| Action::CancelChild { child }));
    if !end_if_stopped(turn) {
        turn.set_timer(State::ROOT, Purpose::Grace, CANCEL_GRACE_MS);
    }
    Ok(())
}

/// Ends a run that is being cancelled and has nothing open any more. True while it is being cancelled or has just ended so.
pub(super) fn end_if_stopped(turn: &mut Turn<'_>) -> bool {
    let Phase::Cancelling { reason } = &turn.state.phase else {
        return false;
    };
    let state = &turn.state;
    if state.steps.is_empty() && state.detached.is_empty() && state.children.is_empty() {
        let reason = reason.clone();
        ending::cancelled(turn, reason);
        return true;
    }
    false
}

/// Ends a run that is being cancelled, whatever is still open.
pub(super) fn end_without_waiting(turn: &mut Turn<'_>) {
    if let Phase::Cancelling { reason } = &turn.state.phase {
        let reason = reason.clone();
        ending::cancelled(turn, reason);
    }
}
