//! Steps: a task's work with every expression evaluated, and where it is to run.

use protocol::step::{
    HttpAuthentication, HttpCall, Mode, NetworkRule, StepError, StepSpec, Work as StepWork,
};
use workflow::Task;

use crate::state::{FrameId, Work};
use crate::turn::{Next, Turn};
use crate::uri;

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
    // Every kind that comes here has a mode; the strictest stands for one that would not.
    let mode = execution.mode.unwrap_or(Mode::Sandboxed);
    let mut network = execution.network;
    if let StepWork::Http(call) = &work
        && mode != Mode::Bare
    {
        network.extend(destinations(call));
    }
    StepSpec {
        task: task.pointer.as_str().to_owned(),
        work,
        mode,
        identity: execution.identity,
        image: execution.image,
        network,
        resources: execution.resources,
        requires: execution.requires,
        backend: execution.backend,
        artifacts: execution.artifacts,
        timeout_ms: timeout_ms.and_then(|milliseconds| u64::try_from(milliseconds).ok()),
    }
}

/// Where a request goes by itself: its endpoint, and the authority that the document states for its token.
fn destinations(call: &HttpCall) -> Vec<NetworkRule> {
    let authority = match &call.authentication {
        Some(HttpAuthentication::OAuth2(settings) | HttpAuthentication::Oidc(settings)) => {
            Some(&settings.authority)
        }
        _ => None,
    };
    std::iter::once(&call.uri).chain(authority).filter_map(|uri| uri::destination(uri)).collect()
}
