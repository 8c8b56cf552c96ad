//! A run: its workflow, its state, and the one function that changes it.

use std::sync::Arc;

use protocol::id::RunId;
use serde::{Deserialize, Serialize};
use workflow::Workflow;

use crate::action::Action;
use crate::event::Event;
use crate::rejected::{Rejected, RestoreError};
use crate::status::Status;

/// Version of the format of [`Run::snapshot`].
pub const SNAPSHOT_VERSION: u32 = 1;

/// Which run it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunInfo {
    /// Its id.
    pub id: RunId,
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow, never `latest`.
    pub version: String,
}

/// One execution of a workflow.
#[derive(Clone, Debug)]
pub struct Run {
    info: RunInfo,
    workflow: Arc<Workflow>,
    status: Status,
}

impl Run {
    /// A run that waits for [`Event::Started`].
    pub fn new(info: RunInfo, workflow: Arc<Workflow>) -> Run {
        Run { info, workflow, status: Status::Pending }
    }

    /// Which run it is.
    pub fn info(&self) -> &RunInfo {
        &self.info
    }

    /// The document it executes.
    pub fn workflow(&self) -> &Arc<Workflow> {
        &self.workflow
    }

    /// Takes one event and says what is to be done. Pure: the same events give the same state and the same actions.
    ///
    /// # Errors
    /// A stale, repeated or meaningless event is [`Rejected`] and changes nothing.
    pub fn apply(&mut self, event: &Event) -> Result<Vec<Action>, Rejected> {
        Err(Rejected::Status { event: event.name(), status: self.status })
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Its whole state as bytes.
    pub fn snapshot(&self) -> Vec<u8> {
        serde_json::to_vec(&self.status).expect("a status is JSON")
    }

    /// The run as it was when `snapshot` was taken. `info` and `workflow` must be the same as then.
    ///
    /// # Errors
    /// When the bytes are no snapshot of this version and workflow.
    pub fn restore(info: RunInfo, workflow: Arc<Workflow>, snapshot: &[u8]) -> Result<Run, RestoreError> {
        let status = serde_json::from_slice(snapshot).map_err(RestoreError::Malformed)?;
        Ok(Run { info, workflow, status })
    }
}
