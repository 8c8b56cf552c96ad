//! A timer is due.

use protocol::id::TimerId;

use super::{cancel_requested, expect, is_live};
use crate::event::Event;
use crate::rejected::Rejected;
use crate::state::{Purpose, Todo};
use crate::turn::Turn;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event, id: TimerId) -> Result<(), Rejected> {
    expect(turn, event, is_live)?;
    let timer = turn.state.timers.remove(&id).ok_or(Rejected::TimerNotSet(id))?;
    if timer.purpose == Purpose::Grace {
        cancel_requested::end_without_waiting(turn);
    } else {
        turn.state.agenda.push_back(Todo::Due(timer));
    }
    Ok(())
}
