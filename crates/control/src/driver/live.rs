//! A run in memory: the planner's state with what the driver keeps beside it, loaded by snapshot and replay.

use std::collections::HashMap;
use std::sync::Arc;

use planner::{Event, Run, RunInfo};
use protocol::id::{RunId, StepId};
use protocol::step::Mode;
use store::{LoadedRun, Parent, RunStatus, Store, StoreError};
use workflow::Workflow;

use super::documents::{DocumentError, Documents};
use crate::dispatch::queue::RunMeta;

/// A run that can take events.
pub(crate) struct LiveRun {
    /// The planner's state.
    pub(crate) run: Run,
    /// Names, shared with the entries of its steps.
    pub(crate) meta: Arc<RunMeta>,
    /// The run that started it.
    pub(crate) parent: Option<Parent>,
    /// Count of its stored events.
    pub(crate) version: u64,
    /// Status as the store has it.
    pub(crate) status: RunStatus,
    /// Steps that the store has as ready, leased or started.
    pub(crate) open: HashMap<StepId, OpenStep>,
    /// Whether a step of it has ended: its next ones come before the first ones of other runs.
    pub(crate) begun: bool,
    /// Events since the last snapshot.
    pub(crate) since_snapshot: u32,
    /// About how many bytes it takes.
    pub(crate) weight: usize,
    /// Whether its last turn kept a planner long.
    pub(crate) slow: bool,
}

/// An open step, as watchers are told of it.
#[derive(Clone, Debug)]
pub(crate) struct OpenStep {
    /// JSON pointer of its task.
    pub(crate) task: Arc<str>,
    /// Where it runs.
    pub(crate) mode: Mode,
}

/// About how many bytes a run takes beside its values.
const BASE_WEIGHT_BYTES: usize = 4096;

/// Why a run cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// No such run.
    #[error("there is no run {0}")]
    Unknown(RunId),
    /// The store failed.
    #[error("failed to load the run: {0}")]
    Store(#[from] StoreError),
    /// Its document is gone or is not accepted by this version of the program.
    #[error("failed to load the run's document: {0}")]
    Document(#[from] DocumentError),
    /// Its history cannot be replayed by this version of the program.
    #[error("failed to replay event {number}: {reason}")]
    Replay {
        /// Number of the event; 0 for the snapshot.
        number: u64,
        /// Why.
        reason: String,
    },
}

impl LiveRun {
    /// A run that is being made.
    pub(crate) fn new(run: RunId, new: &store::NewRun, workflow: Arc<Workflow>) -> Self {
        let info = RunInfo {
            id: run,
            namespace: new.namespace.clone(),
            workflow: new.workflow.clone(),
            version: new.version.clone(),
        };
        Self::around(Run::new(info, workflow), new.parent, RunStatus::Pending)
    }

    fn around(run: Run, parent: Option<Parent>, status: RunStatus) -> Self {
        let info = run.info();
        let meta = Arc::new(RunMeta {
            namespace: info.namespace.as_str().into(),
            workflow: info.workflow.clone(),
            version: info.version.clone(),
        });
        LiveRun {
            run,
            meta,
            parent,
            version: 0,
            status,
            open: HashMap::new(),
            begun: false,
            since_snapshot: 0,
            weight: BASE_WEIGHT_BYTES,
            slow: false,
        }
    }

    /// The run as the store has it.
    pub(crate) async fn load(
        store: &dyn Store,
        documents: &Documents,
        run: RunId,
    ) -> Result<Self, LoadError> {
        let loaded = store.load_run(run).await?.ok_or(LoadError::Unknown(run))?;
        let workflow = documents.of_run(&loaded.summary).await?;
        Self::replay(loaded, workflow)
    }

    fn replay(loaded: LoadedRun, workflow: Arc<Workflow>) -> Result<Self, LoadError> {
        let LoadedRun { summary, snapshot, events, open_steps, .. } = loaded;
        let info = RunInfo {
            id: summary.run,
            namespace: summary.namespace,
            workflow: summary.workflow,
            version: summary.workflow_version,
        };
        let mut weight = BASE_WEIGHT_BYTES;
        let mut run = match snapshot {
            Some(snapshot) => {
                weight += snapshot.state.len();
                Run::restore(info, workflow, &snapshot.state)
                    .map_err(|error| LoadError::Replay { number: 0, reason: error.to_string() })?
            }
            None => Run::new(info, workflow),
        };
        let since_snapshot = u32::try_from(events.len()).unwrap_or(u32::MAX);
        for entry in events {
            let failed = |reason: String| LoadError::Replay { number: entry.number, reason };
            let event: Event =
                serde_json::from_slice(&entry.event).map_err(|error| failed(error.to_string()))?;
            run.apply(&event).map_err(|rejected| failed(rejected.to_string()))?;
            weight += entry.event.len();
        }
        let mut live = Self::around(run, summary.parent, summary.status);
        live.version = summary.version;
        live.begun = summary.version > 1;
        live.since_snapshot = since_snapshot;
        live.weight = weight;
        live.open = open_steps
            .into_iter()
            .map(|step| (step.step, OpenStep { task: step.task.into(), mode: step.mode }))
            .collect();
        Ok(live)
    }
}
