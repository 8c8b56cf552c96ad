//! [`Control`]: the one handle on the control plane. Every method that changes something returns after the commit.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use protocol::id::{RunId, StepId, Timestamp};
use serde::Serialize;
use serde_json::Value;
use store::{LogCursor, Store};
use tokio::task::JoinHandle;
use workflow::Diagnostics;

use crate::config::ControlConfig;
use crate::error::{ControlError, PublishError, SubmitError};
use crate::logs::LogEntry;
use crate::metrics::Metrics;
use crate::watch::RunEvent;

/// A stream of what happens to a run; it ends after the event that ends the run.
pub type RunEvents = Pin<Box<dyn Stream<Item = RunEvent> + Send>>;
/// A stream of log entries, the stored ones first; it ends when the run has ended and all was given.
pub type LogEntries = Pin<Box<dyn Stream<Item = Result<LogEntry, ControlError>> + Send>>;

/// What to run.
#[derive(Clone, Debug)]
pub enum Source {
    /// The text of a document, YAML or JSON.
    Document(String),
    /// A published workflow of the run's namespace.
    Published {
        /// Name of the workflow.
        name: String,
        /// Version; `None` means the latest.
        version: Option<String>,
    },
}

/// A run to be started.
#[derive(Clone, Debug)]
pub struct NewRun {
    /// Namespace the caller may use; a document must be of it. `None` takes the document's.
    pub namespace: Option<String>,
    /// What to run.
    pub source: Source,
    /// The run's input, JSON of any shape.
    pub input: Value,
    /// The same key with the same request gives the same run, within the namespace.
    pub idempotency_key: Option<String>,
    /// Free labels of the run.
    pub labels: BTreeMap<String, String>,
}

/// A published document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// Namespace of the document.
    pub namespace: String,
    /// Name of the document.
    pub name: String,
    /// Version of the document.
    pub version: String,
    /// What the author should look at.
    pub warnings: Diagnostics,
}

/// A worker as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerInfo {
    /// Its name, as enrolled.
    pub name: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// Whether it takes no more steps.
    pub draining: bool,
    /// Version of its program; empty until it connected once.
    pub version: String,
    /// Labels that steps may require.
    pub labels: BTreeMap<String, String>,
    /// Names of modes it takes.
    pub modes: Vec<String>,
    /// Sandbox backends, best first.
    pub sandboxes: Vec<String>,
    /// CLI agents with a manifest.
    pub agents: Vec<String>,
    /// Whether `run` is allowed in mode 0.
    pub bare_run: bool,
    /// Steps it runs at once.
    pub slots: u32,
    /// Leases it holds.
    pub running: u32,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
}

/// The handle on the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    shared: Arc<Shared>,
}

struct Shared {
    store: Arc<dyn Store>,
    metrics: Arc<Metrics>,
}

/// Starts the control plane's tasks and threads. They end when the returned handle's task is aborted.
pub async fn start(
    config: ControlConfig,
    store: Arc<dyn Store>,
) -> Result<(Control, JoinHandle<()>), ControlError> {
    let _ = config;
    let shared = Arc::new(Shared { store, metrics: Arc::new(Metrics::default()) });
    Ok((Control { shared }, tokio::spawn(async {})))
}

fn not_built() -> ControlError {
    ControlError::Unavailable("the driver is not built yet".to_owned())
}

impl Control {
    /// Accepts a run; returns its id after the commit.
    pub async fn submit(&self, run: NewRun) -> Result<RunId, SubmitError> {
        let _ = run;
        Err(SubmitError::Unavailable("the driver is not built yet".to_owned()))
    }

    /// Ends a run; its running steps are told to stop. Cancelling a run that has ended is a conflict.
    pub async fn cancel(&self, run: RunId) -> Result<(), ControlError> {
        let _ = run;
        Err(not_built())
    }

    /// Holds a run: no further step starts; running ones go on to their end.
    pub async fn suspend(&self, run: RunId) -> Result<(), ControlError> {
        let _ = run;
        Err(not_built())
    }

    /// Goes on with a suspended run.
    pub async fn resume(&self, run: RunId) -> Result<(), ControlError> {
        let _ = run;
        Err(not_built())
    }

    /// Goes on with a faulted run from the task that failed.
    pub async fn retry(&self, run: RunId) -> Result<(), ControlError> {
        let _ = run;
        Err(not_built())
    }

    /// What happens to a run from now on. A watcher that lags gets [`RunEvent::Resync`].
    pub async fn watch(&self, run: RunId) -> Result<RunEvents, ControlError> {
        let _ = run;
        Err(not_built())
    }

    /// Log of a run, or of one step, after the chunk `from`: what is stored in the order of step, attempt and sequence,
    /// then, with `follow`, what comes in, until the run ends.
    pub async fn tail_logs(
        &self,
        run: RunId,
        step: Option<StepId>,
        from: Option<LogCursor>,
        follow: bool,
    ) -> Result<LogEntries, ControlError> {
        let _ = (run, step, from, follow);
        Err(not_built())
    }

    /// Stores a document under its namespace, name and version. The same content again is no error.
    pub async fn publish(&self, document: &str) -> Result<Published, PublishError> {
        let _ = document;
        Err(PublishError::Unavailable("the driver is not built yet".to_owned()))
    }

    /// All findings about a document; errors refuse it, also what cannot be run yet.
    pub fn validate(&self, document: &str) -> Diagnostics {
        let _ = document;
        Diagnostics::default()
    }

    /// The enrolled workers, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, ControlError> {
        Err(not_built())
    }

    /// Tells a worker to finish what it holds and to take no more.
    pub async fn drain(&self, worker: &str) -> Result<(), ControlError> {
        let _ = worker;
        Err(not_built())
    }

    /// Takes a worker's credential away and closes its stream. Its leases expire.
    pub async fn remove_worker(&self, worker: &str) -> Result<(), ControlError> {
        let _ = worker;
        Err(not_built())
    }

    /// Why ready steps of a class ([`store::Step::class`]) wait, in words, such as `no worker offers gpu=1`; `None`
    /// when a connected worker takes such steps.
    pub fn waiting_reason(&self, class: &str) -> Option<String> {
        let _ = class;
        None
    }

    /// The store, for reading: runs, steps, history, workflows, tokens.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.shared.store
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    /// Whether requests can be taken; else why not.
    pub fn ready(&self) -> Result<(), String> {
        Err("the driver is not built yet".to_owned())
    }
}
