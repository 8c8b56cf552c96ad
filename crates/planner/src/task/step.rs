//! Steps: a task's work with every expression evaluated, and where it is to run.

use protocol::step::{Mode, StepError, StepSpec, Work as StepWork};
use workflow::Task;

use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};

/// Puts the step of a task in the queue and waits for its outcome.
pub(super) fn start(
    turn: &mut Turn<'_>,
    id: FrameId,
    task: &Task,
    work: StepWork,
) -> Result<Next, StepError> {
    let spec = spec(turn, id, task, work);
    let step = turn.start_step(Some(id), spec)?;
    turn.state.frame_mut(id).work = Work::Step(step);
    Ok(Next::Wait)
}

/// Puts the step of a task in the queue and does not wait (`await: false`): the output is the input.
pub(super) fn start_detached(
    turn: &mut Turn<'_>,
    id: FrameId,
    task: &Task,
    work: StepWork,
) -> Result<Next, StepError> {
    let spec = spec(turn, id, task, work);
    turn.start_step(None, spec)?;
    let output = turn.state.frame(id).input.clone();
    Ok(Next::Finish { frame: id, output, then: None })
}

fn spec(turn: &Turn<'_>, id: FrameId, task: &Task, work: StepWork) -> StepSpec {
    let execution = turn.workflow.execution(task);
    let timeout_ms = turn.state.frame(id).timeout_ms;
    StepSpec {
        task: task.pointer.as_str().to_owned(),
        work,
        // Every kind that comes here has a mode; the strictest stands for one that would not.
        mode: execution.mode.unwrap_or(Mode::Sandboxed),
        identity: execution.identity,
        image: execution.image,
        network: execution.network,
        resources: execution.resources,
        requires: execution.requires,
        backend: execution.backend,
        artifacts: execution.artifacts,
        timeout_ms: timeout_ms.and_then(|milliseconds| u64::try_from(milliseconds).ok()),
    }
}
