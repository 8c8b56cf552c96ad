//! The run's next turn after a yield.

use super::expect;
use crate::event::Event;
use crate::rejected::Rejected;
use crate::state::Phase;
use crate::turn::Turn;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event) -> Result<(), Rejected> {
    expect(turn, event, |phase| matches!(phase, Phase::Active | Phase::Suspended))?;
    if !turn.state.yielded {
        return Err(Rejected::NotYielded);
    }
    turn.state.yielded = false;
    Ok(())
}
