//! Nothing new may start. What ends meanwhile is kept on the agenda; steps that run go on, and so do limits of time.

use super::expect;
use crate::event::Event;
use crate::rejected::Rejected;
use crate::state::Phase;
use crate::turn::Turn;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event) -> Result<(), Rejected> {
    expect(turn, event, |phase| *phase == Phase::Active)?;
    turn.state.phase = Phase::Suspended;
    Ok(())
}
