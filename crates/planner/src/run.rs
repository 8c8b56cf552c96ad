//! A run: its workflow, its state, and the one function that changes it.

use std::sync::Arc;

use protocol::id::RunId;
use serde::{Deserialize, Serialize};
use workflow::Workflow;

use crate::action::Action;
use crate::event::Event;
use crate::lifecycle;
use crate::rejected::{Rejected, RestoreError};
use crate::snapshot;
use crate::state::{Phase, Purpose, State};
use crate::status::Status;
use crate::turn::Turn;

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
    state: State,
}

impl Run {
    /// A run that waits for [`Event::Started`].
    pub fn new(info: RunInfo, workflow: Arc<Workflow>) -> Run {
        Run { info, workflow, state: State::new() }
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
        let mut turn = Turn::new(&self.info, &self.workflow, &mut self.state, event.at());
        lifecycle::accept(&mut turn, event)?;
        turn.advance();
        Ok(turn.actions)
    }

    /// Where it stands.
    pub fn status(&self) -> Status {
        self.state.status()
    }

    /// Its whole state as bytes: JSON, because the values in it are JSON and someone may want to read it; each value is in it
    /// once, however many tasks hold it.
    pub fn snapshot(&self) -> Vec<u8> {
        snapshot::write(&self.state)
    }

    /// The run as it was when `snapshot` was taken. `info` and `workflow` must be the same as then.
    ///
    /// # Errors
    /// When the bytes are no snapshot of this version and workflow.
    pub fn restore(info: RunInfo, workflow: Arc<Workflow>, snapshot: &[u8]) -> Result<Run, RestoreError> {
        let state = snapshot::read(snapshot, &workflow)?;
        Ok(Run { info, workflow, state })
    }
}

impl State {
    pub(crate) fn status(&self) -> Status {
        match &self.phase {
            Phase::Pending => Status::Pending,
            Phase::Active if self.waits_for_time_alone() => Status::Waiting,
            Phase::Active => Status::Running,
            Phase::Suspended => Status::Suspended,
            Phase::Cancelling { .. } => Status::Cancelling,
            Phase::Completed => Status::Completed,
            Phase::Faulted => Status::Faulted,
            Phase::Cancelled => Status::Cancelled,
        }
    }

    fn waits_for_time_alone(&self) -> bool {
        let waits = |purpose| matches!(purpose, Purpose::Wait | Purpose::Retry);
        self.agenda.is_empty()
            && self.steps.is_empty()
            && self.children.is_empty()
            && self.timers.values().any(|timer| waits(timer.purpose))
    }
}
