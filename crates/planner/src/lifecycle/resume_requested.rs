//! A suspended run goes on with what was kept.

use super::expect;
use crate::event::Event;
use crate::rejected::Rejected;
use crate::state::Phase;
use crate::turn::Turn;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event) -> Result<(), Rejected> {
    expect(turn, event, |phase| *phase == Phase::Suspended)?;
    turn.state.phase = Phase::Active;
    Ok(())
}
