//! The run begins.

use serde_json::Value;

use super::expect;
use crate::event::Event;
use crate::path::Path;
use crate::rejected::Rejected;
use crate::state::{Phase, Work};
use crate::task::list::ListState;
use crate::turn::Turn;
use crate::value::Shared;

pub(super) fn accept(turn: &mut Turn<'_>, event: &Event, input: &Value) -> Result<(), Rejected> {
    expect(turn, event, |phase| *phase == Phase::Pending)?;
    turn.state.phase = Phase::Active;
    turn.state.started_at = turn.at;
    turn.state.input = Shared::from(input.clone());
    let root = ListState { in_catch: false, position: 0, variables: Vec::new() };
    turn.open(None, Path::default(), Shared::null(), Work::List(root));
    Ok(())
}
