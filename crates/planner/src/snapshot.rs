//! Snapshots: the whole state of a run as bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use workflow::Workflow;

use crate::rejected::RestoreError;
use crate::state::{State, Work};
use crate::value;

/// Version of the format of [`crate::Run::snapshot`].
pub const SNAPSHOT_VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Envelope<S> {
    version: u32,
    values: Vec<Arc<Value>>,
    state: S,
}

/// The version alone, read first so that the rest may differ.
#[derive(Deserialize)]
struct Version {
    version: u32,
}

pub(crate) fn write(state: &State) -> Vec<u8> {
    let (state, values) = value::collecting(|| serde_json::value::to_raw_value(state));
    let state = state.expect("a state is JSON");
    serde_json::to_vec(&Envelope { version: SNAPSHOT_VERSION, values, state }).expect("a snapshot is JSON")
}

pub(crate) fn read(bytes: &[u8], workflow: &Workflow) -> Result<State, RestoreError> {
    let Version { version } = serde_json::from_slice(bytes).map_err(RestoreError::Malformed)?;
    if version != SNAPSHOT_VERSION {
        return Err(RestoreError::Version { found: version, expected: SNAPSHOT_VERSION });
    }
    let envelope: Envelope<&serde_json::value::RawValue> =
        serde_json::from_slice(bytes).map_err(RestoreError::Malformed)?;
    let state: State = value::resolving(envelope.values, || serde_json::from_str(envelope.state.get()))
        .map_err(RestoreError::Malformed)?;
    check(&state, workflow)?;
    Ok(state)
}

/// Everything that the planner takes for granted about a state: each frame has its parent and its task, what is open has its frame.
fn check(state: &State, workflow: &Workflow) -> Result<(), RestoreError> {
    let wrong = |what: String| Err(RestoreError::Workflow(what));
    for (id, frame) in &state.frames {
        let is_root = *id == State::ROOT;
        match frame.parent {
            None if is_root => {}
            Some(parent) if !is_root && parent < *id && state.frames.contains_key(&parent) => {}
            _ => return wrong(format!("frame {} has no parent", id.0)),
        }
        let has_place = match &frame.work {
            Work::List(list) => frame.path.list(workflow, list.in_catch).is_some(),
            _ => frame.path.task(workflow).is_some_and(|task| frame.work.fits(task)),
        };
        if !has_place {
            return wrong(format!("the document has no such task as frame {} is for", id.0));
        }
    }
    let open = state.steps.values().chain(state.children.values());
    if let Some(frame) = open.into_iter().find(|frame| !state.frames.contains_key(frame)) {
        return wrong(format!("something open belongs to frame {}, which is gone", frame.0));
    }
    Ok(())
}
