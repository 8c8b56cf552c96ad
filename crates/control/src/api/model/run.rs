//! Runs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Step, Time};

/// Labels that begin so are the platform's own: they are not shown, and clients may not set them.
pub(crate) const OWN_LABELS: &str = "sagewai.";

/// What to run: exactly one of `document` and `workflow`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SubmitRun {
    /// The text of a workflow document, YAML or JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub document: Option<String>,
    /// A published workflow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workflow: Option<WorkflowReference>,
    /// Namespace that the document must be of; absent means the document's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// The run's input, JSON of any shape.
    #[serde(default)]
    pub input: Value,
    /// Free labels, to find the run by.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

/// The name of a published workflow.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WorkflowReference {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version; absent means the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// Where a run is in its life, in the words of the DSL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum RunState {
    /// Accepted, not begun.
    Pending,
    /// On its way.
    Running,
    /// Waits for a time or an event.
    Waiting,
    /// Held by a person.
    Suspended,
    /// Told to end; steps are still stopping.
    Cancelling,
    /// Ended as it should.
    Completed,
    /// Ended by an error.
    Faulted,
    /// Ended by a person or its parent.
    Cancelled,
}

impl RunState {
    /// Whether the run has ended.
    pub fn has_ended(self) -> bool {
        matches!(self, RunState::Completed | RunState::Faulted | RunState::Cancelled)
    }

    /// The word for it.
    pub fn name(self) -> &'static str {
        store::RunStatus::from(self).name()
    }
}

impl From<store::RunStatus> for RunState {
    fn from(status: store::RunStatus) -> Self {
        match status {
            store::RunStatus::Pending => RunState::Pending,
            store::RunStatus::Running => RunState::Running,
            store::RunStatus::Waiting => RunState::Waiting,
            store::RunStatus::Suspended => RunState::Suspended,
            store::RunStatus::Cancelling => RunState::Cancelling,
            store::RunStatus::Completed => RunState::Completed,
            store::RunStatus::Faulted => RunState::Faulted,
            store::RunStatus::Cancelled => RunState::Cancelled,
        }
    }
}

impl From<RunState> for store::RunStatus {
    fn from(state: RunState) -> Self {
        match state {
            RunState::Pending => store::RunStatus::Pending,
            RunState::Running => store::RunStatus::Running,
            RunState::Waiting => store::RunStatus::Waiting,
            RunState::Suspended => store::RunStatus::Suspended,
            RunState::Cancelling => store::RunStatus::Cancelling,
            RunState::Completed => store::RunStatus::Completed,
            RunState::Faulted => store::RunStatus::Faulted,
            RunState::Cancelled => store::RunStatus::Cancelled,
        }
    }
}

/// A run as lists show it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunSummary {
    /// Its id, a UUID that sorts by time.
    pub id: String,
    /// Namespace of the workflow.
    pub namespace: String,
    /// Name of the workflow.
    pub workflow: String,
    /// Version of the workflow.
    pub version: String,
    /// State.
    pub state: RunState,
    /// When it was accepted.
    pub created: Time,
    /// When its state last changed.
    pub updated: Time,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Time>,
    /// The client's labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// The run that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

impl From<store::RunSummary> for RunSummary {
    fn from(run: store::RunSummary) -> Self {
        RunSummary {
            id: run.run.to_string(),
            namespace: run.namespace,
            workflow: run.workflow,
            version: run.workflow_version,
            state: run.status.into(),
            created: run.created_at.into(),
            updated: run.updated_at.into(),
            ended: run.finished_at.map(Time::from),
            labels: run.labels.into_iter().filter(|(key, _)| !key.starts_with(OWN_LABELS)).collect(),
            parent: run.parent.map(|parent| parent.run.to_string()),
        }
    }
}

/// A run with its values and its steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// What lists show.
    pub summary: RunSummary,
    /// What the client gave.
    #[serde(default)]
    pub input: Value,
    /// What came out; absent until the run has completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Value>,
    /// What went wrong, in the shape of DSL errors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// The first steps, in the order in which they were planned.
    pub steps: Vec<Step>,
    /// Cursor for the rest, at `/runs/{id}/steps`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_steps: Option<String>,
}

/// An entry of a run's history.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HistoryEntry {
    /// Number, from 1.
    pub number: u64,
    /// When.
    pub time: Time,
    /// What happened, as the planner was told.
    pub event: Value,
    /// What the planner notes for people.
    #[serde(default)]
    pub notes: Value,
}

/// A file that a step gave back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ArtifactEntry {
    /// The step that gave it.
    pub step: u32,
    /// Name of the step's task.
    pub task: String,
    /// Path below /workspace.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// Lower-case hex SHA-256 of the content.
    pub sha256: String,
}
