//! `wait`: goes on after a time. The output is the input.

use protocol::step::StepError;
use workflow::DurationValue;

use crate::state::{FrameId, Purpose, Work};
use crate::turn::{Next, Turn};

/// Sets the timer; nothing to wait for needs none.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, duration: &DurationValue) -> Result<Next, StepError> {
    let milliseconds = turn.milliseconds(id, duration)?;
    if milliseconds == 0 {
        let output = turn.state.frame(id).input.clone();
        return Ok(Next::Finish { frame: id, output, then: None });
    }
    turn.state.frame_mut(id).work = Work::Wait;
    turn.set_timer(id, Purpose::Wait, milliseconds);
    Ok(Next::Wait)
}
