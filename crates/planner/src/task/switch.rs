//! `switch`: the flow goes where the first case says that holds. The output is the input.

use protocol::step::StepError;
use workflow::Switch;

use crate::scope::Sees;
use crate::state::FrameId;
use crate::turn::{Next, Turn};

/// Tries the cases in order. A case without `when` counts when no other holds, wherever it stands (DSL, "switch case");
/// without one the flow goes on as the task's own `then` says.
pub(crate) fn begin(turn: &mut Turn<'_>, id: FrameId, task: &Switch) -> Result<Next, StepError> {
    let input = turn.state.frame(id).input.clone();
    let mut chosen = None;
    for case in &task.cases {
        if let Some(condition) = &case.when
            && turn.holds(id, condition, &input, Sees::DEFINITION)?
        {
            chosen = Some(case);
            break;
        }
    }
    let chosen = chosen.or_else(|| task.cases.iter().find(|case| case.when.is_none()));
    Ok(Next::Finish { frame: id, output: input, then: chosen.map(|case| case.then.clone()) })
}
