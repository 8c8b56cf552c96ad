//! `set`: the output is what the document says.

use protocol::step::StepError;
use workflow::expression::Template;

use crate::scope::Sees;
use crate::state::FrameId;
use crate::turn::{Next, Turn};

/// Evaluates the template on the task's input.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, template: &Template) -> Result<Next, StepError> {
    let input = turn.state.frame(id).input.clone();
    let output = turn.value(id, template, &input, Sees::DEFINITION)?;
    Ok(Next::Finish { frame: id, output, then: None })
}
