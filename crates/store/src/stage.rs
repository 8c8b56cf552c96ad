//! What every implementation decides alike, as pure functions: whether a turn fits the run, and what a step change does.

use protocol::id::StepId;

use crate::error::{Refusal, StoreError};
use crate::large::MAX_INLINE_BYTES;
use crate::log::{LogBody, LogChunk};
use crate::step::{Step, StepState};
use crate::turn::{MAX_COMMIT_TURNS, StepChange, Turn};

/// Checks what does not depend on what is stored.
pub(crate) fn validate(turns: &[Turn]) -> Result<(), StoreError> {
    if turns.len() > MAX_COMMIT_TURNS {
        return Err(StoreError::Invalid(format!(
            "{} turns in one commit, the limit is {MAX_COMMIT_TURNS}",
            turns.len()
        )));
    }
    for turn in turns {
        if turn.create.is_some() && turn.expected_version.is_some() {
            return Err(StoreError::Invalid(format!(
                "turn of run {} both creates it and expects a version",
                turn.run
            )));
        }
        if turn.create.is_none() && turn.expected_version.is_none() && !turn.events.is_empty() {
            return Err(StoreError::Invalid(format!(
                "turn of run {} appends events to any version",
                turn.run
            )));
        }
        for change in &turn.steps {
            if let StepChange::Finished { step, state, .. } = change
                && !state.is_final()
            {
                return Err(StoreError::Invalid(format!(
                    "step {step} of run {} finishes as {}",
                    turn.run,
                    state.name()
                )));
            }
        }
    }
    Ok(())
}

/// Checks that chunks which are kept here are small.
pub(crate) fn validate_logs(chunks: &[LogChunk]) -> Result<(), StoreError> {
    let large =
        chunks.iter().find(|chunk| matches!(&chunk.body, LogBody::Inline(b) if b.len() > MAX_INLINE_BYTES));
    match large {
        Some(chunk) => Err(StoreError::Invalid(format!(
            "a log chunk of {} has {} bytes: above {MAX_INLINE_BYTES} it must be a blob",
            chunk.attempt,
            chunk.body.size()
        ))),
        None => Ok(()),
    }
}

/// The version that a turn starts from, given the version of its run if there is one.
pub(crate) fn starting_version(turn: &Turn, found: Option<u64>) -> Result<u64, Refusal> {
    match (&turn.create, found, turn.expected_version) {
        (Some(_), Some(_), _) => Err(Refusal::RunExists(turn.run)),
        (Some(_), None, _) => Ok(0),
        (None, None, _) => Err(Refusal::UnknownRun(turn.run)),
        (None, Some(actual), Some(expected)) if expected != actual => {
            Err(Refusal::Conflict { expected, actual })
        }
        (None, Some(actual), _) => Ok(actual),
    }
}

/// Why a turn cannot be staged: it is refused, or the store failed.
pub(crate) enum StageError {
    Refused(Refusal),
    Store(StoreError),
}

impl From<Refusal> for StageError {
    fn from(refusal: Refusal) -> Self {
        StageError::Refused(refusal)
    }
}

impl From<StoreError> for StageError {
    fn from(error: StoreError) -> Self {
        StageError::Store(error)
    }
}

/// A step that a turn touches.
pub(crate) struct StagedStep<'a> {
    /// State before the turn; `None` for a new step.
    pub(crate) before: Option<StepState>,
    /// The step after the changes so far.
    pub(crate) step: Step,
    /// Spec of a new step.
    pub(crate) spec: Option<&'a bytes::Bytes>,
}

/// The steps that a turn touches, each loaded once, changed in order, and written once, if none of the changes is stale.
pub(crate) fn stage_steps<'a>(
    changes: &'a [StepChange],
    mut load: impl FnMut(StepId) -> Result<Option<Step>, StoreError>,
) -> Result<Vec<StagedStep<'a>>, StageError> {
    let mut staged: Vec<StagedStep<'a>> = Vec::new();
    for change in changes {
        let id = step_of(change);
        let place = match staged.iter().position(|s| s.step.step == id) {
            Some(place) => Some(place),
            None => load(id)?.map(|step| {
                staged.push(StagedStep { before: Some(step.state), step, spec: None });
                staged.len() - 1
            }),
        };
        match (place, change) {
            (None, StepChange::Ready(new)) => {
                staged.push(StagedStep { before: None, step: new_step(new), spec: Some(&new.spec) });
            }
            (None, _) => return Err(stale(change, "there is no such step".to_owned()).into()),
            (Some(place), _) => apply(&mut staged[place].step, change)?,
        }
    }
    Ok(staged)
}

fn step_of(change: &StepChange) -> StepId {
    match change {
        StepChange::Ready(new) => new.step,
        StepChange::Leased { step, .. }
        | StepChange::Started { step, .. }
        | StepChange::Finished { step, .. }
        | StepChange::Released { step, .. }
        | StepChange::Cancelled { step, .. } => *step,
    }
}

fn new_step(new: &crate::turn::NewStep) -> Step {
    Step {
        step: new.step,
        task: new.task.clone(),
        name: new.name.clone(),
        mode: new.mode,
        state: StepState::Ready,
        attempt: 0,
        class: new.class.clone(),
        priority: new.priority,
        worker: None,
        sandbox: None,
        ready_at: new.at,
        leased_at: None,
        started_at: None,
        finished_at: None,
        artifacts: Vec::new(),
        error: None,
    }
}

/// Moves a step on, or finds the change stale. This is the fence: each arm but the last says where it may start from.
fn apply(step: &mut Step, change: &StepChange) -> Result<(), Refusal> {
    match change {
        StepChange::Leased { attempt, worker, at, .. }
            if step.state == StepState::Ready && step.attempt.checked_add(1) == Some(*attempt) =>
        {
            step.state = StepState::Leased;
            step.attempt = *attempt;
            step.worker = Some(worker.clone());
            step.sandbox = None;
            step.leased_at = Some(*at);
            step.started_at = None;
        }
        StepChange::Started { attempt, at, sandbox, .. }
            if step.state == StepState::Leased && step.attempt == *attempt =>
        {
            step.state = StepState::Started;
            step.started_at = Some(*at);
            step.sandbox = sandbox.clone();
        }
        StepChange::Finished { attempt, state, at, artifacts, error, .. }
            if step.state.is_held() && step.attempt == *attempt =>
        {
            step.state = *state;
            step.finished_at = Some(*at);
            step.artifacts = artifacts.clone();
            step.error = error.clone();
        }
        StepChange::Released { attempt, at, .. } if step.state.is_held() && step.attempt == *attempt => {
            step.state = StepState::Ready;
            step.ready_at = *at;
        }
        StepChange::Cancelled { at, .. } => {
            if !step.state.is_final() {
                step.state = StepState::Cancelled;
                step.finished_at = Some(*at);
            }
        }
        _ => return Err(stale(change, format!("it is {} at attempt {}", step.state.name(), step.attempt))),
    }
    Ok(())
}

fn stale(change: &StepChange, found: String) -> Refusal {
    let attempt = match change {
        StepChange::Ready(_) | StepChange::Cancelled { .. } => 0,
        StepChange::Leased { attempt, .. }
        | StepChange::Started { attempt, .. }
        | StepChange::Finished { attempt, .. }
        | StepChange::Released { attempt, .. } => *attempt,
    };
    Refusal::Stale { step: step_of(change), attempt, found }
}

/// Precedence of versions (semver 2.0 §11) for "the latest": releases above pre-releases, and what is no semantic version
/// below both, by its text.
pub(crate) fn precedence(version: &str) -> (u8, Option<semver::Version>, &str) {
    match semver::Version::parse(version) {
        Ok(parsed) if parsed.pre.is_empty() => (2, Some(parsed), version),
        Ok(parsed) => (1, Some(parsed), version),
        Err(_) => (0, None, version),
    }
}

#[cfg(test)]
mod tests {
    use super::precedence;

    #[test]
    fn the_latest_version_is_the_highest_release() {
        let mut versions = ["1.10.0", "2.0.0-rc.1", "1.9.0", "draft", "1.10.0-alpha"];
        versions.sort_by(|a, b| precedence(a).cmp(&precedence(b)));
        assert_eq!(versions, ["draft", "1.10.0-alpha", "2.0.0-rc.1", "1.9.0", "1.10.0"]);
    }
}
