//! [`Control`]: the one handle on the control plane. Every method that changes something returns after the commit.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;

use futures_util::Stream;
use planner::Event;
use protocol::id::{RunId, StepId};
use serde::Serialize;
use serde_json::Value;
use store::{LogCursor, LogFilter, PublishOutcome, Store};
use tokio::sync::oneshot;
use workflow::{Diagnostics, Workflow};

use crate::core::Core;
use crate::driver::committer::ToCommitter;
use crate::driver::input::{Input, Origin};
use crate::error::{ControlError, PublishError, SubmitError};
use crate::hub::Told;
use crate::logs::LogEntry;
use crate::metrics::Metrics;
use crate::submit;
use crate::watch::RunEvent;
use crate::workers::{WorkerInfo, describe};

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
    /// Free labels of the run. Keys that begin with `sagewai.` are the platform's.
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

/// The handle on the control plane. Cheap to clone.
#[derive(Clone)]
pub struct Control {
    core: Arc<Core>,
}

impl Control {
    pub(crate) fn new(core: Arc<Core>) -> Self {
        Control { core }
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Accepts a run; returns its id after the commit.
    pub async fn submit(&self, run: NewRun) -> Result<RunId, SubmitError> {
        submit::submit(&self.core, run, false).await.map(|accepted| accepted.run)
    }

    /// As [`Control::submit`], with what lists show of the run and, with `waits`, its end.
    pub(crate) async fn accept(&self, run: NewRun, waits: bool) -> Result<submit::Accepted, SubmitError> {
        submit::submit(&self.core, run, waits).await
    }

    /// Waits for the end of a run; at once if it has ended.
    pub(crate) async fn ended(&self, run: RunId) -> Result<(), ControlError> {
        // From before the look, so that it is not missed in between.
        let end = self.core.ends.of(run);
        let summary = self.core.store.run_summary(run).await;
        let summary = summary
            .map_err(|error| ControlError::Unavailable(error.to_string()))?
            .ok_or(ControlError::NoSuchRun(run))?;
        if !summary.status.is_final() {
            end.reached().await;
        }
        Ok(())
    }

    /// Ends a run; its running steps are told to stop. Cancelling a run that has ended is a conflict.
    pub async fn cancel(&self, run: RunId) -> Result<(), ControlError> {
        let (reason, at) = ("it was asked for".to_owned(), self.core.clock.now());
        self.tell(run, Event::CancelRequested { reason, at }).await
    }

    /// Holds a run: no further step starts; running ones go on to their end.
    pub async fn suspend(&self, run: RunId) -> Result<(), ControlError> {
        self.tell(run, Event::SuspendRequested { at: self.core.clock.now() }).await
    }

    /// Goes on with a suspended run.
    pub async fn resume(&self, run: RunId) -> Result<(), ControlError> {
        self.tell(run, Event::ResumeRequested { at: self.core.clock.now() }).await
    }

    /// Goes on with a faulted run from the task that failed.
    pub async fn retry(&self, run: RunId) -> Result<(), ControlError> {
        self.tell(run, Event::RetryRequested { at: self.core.clock.now() }).await
    }

    async fn tell(&self, run: RunId, event: Event) -> Result<(), ControlError> {
        let (reply, answer) = oneshot::channel();
        let input = Input::Event { event, origin: Origin::Client(reply) };
        if !self.core.schedule.try_push(run, input) {
            return Err(ControlError::Unavailable("too many requests wait for this run".to_owned()));
        }
        let stopping = || ControlError::Unavailable("the server is stopping".to_owned());
        answer.await.map_err(|_| stopping())?
    }

    /// What happens to a run: its status now, then each change. A watcher that lags gets [`RunEvent::Resync`].
    pub async fn watch(&self, run: RunId) -> Result<RunEvents, ControlError> {
        let following = self.core.watchers.follow(run);
        let summary = self.core.store.run_summary(run).await;
        let summary = summary
            .map_err(|error| ControlError::Unavailable(error.to_string()))?
            .ok_or(ControlError::NoSuchRun(run))?;
        let (status, ended) = (summary.status.name().to_owned(), summary.status.is_final());
        let first = RunEvent::Status { time: summary.updated_at, status, ended };
        let following = (!ended).then_some(following);
        let rest = futures_util::stream::unfold(following, async |following| {
            let mut following = following?;
            match following.next().await {
                Told::Missed => Some((RunEvent::Resync, Some(following))),
                Told::Item(event) => {
                    let last = matches!(event, RunEvent::Status { ended: true, .. });
                    Some((event, Some(following).filter(|_| !last)))
                }
            }
        });
        let first = futures_util::stream::once(std::future::ready(first));
        Ok(Box::pin(futures_util::StreamExt::chain(first, rest)))
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
        let summary = self.core.store.run_summary(run).await;
        summary
            .map_err(|error| ControlError::Unavailable(error.to_string()))?
            .ok_or(ControlError::NoSuchRun(run))?;
        Ok(crate::logs::tail(Arc::clone(&self.core), LogFilter { run, step }, from, follow))
    }

    /// Stores a document under its namespace, name and version. The same content again is no error.
    pub async fn publish(&self, document: &str) -> Result<Published, PublishError> {
        let (sha, workflow) = submit::parse(&self.core, document).await.map_err(|error| match error {
            submit::ParseError::Refused(diagnostics) => PublishError::Document(diagnostics),
            submit::ParseError::Unavailable(reason) => PublishError::Unavailable(reason),
        })?;
        let now = self.core.clock.now();
        let outcome = self.core.planning.documents.publish(sha, &workflow, document, now).await;
        let head = &workflow.document;
        let (namespace, name, version) = (head.namespace.clone(), head.name.clone(), head.version.clone());
        match outcome.map_err(|error| PublishError::Unavailable(error.to_string()))? {
            PublishOutcome::Published | PublishOutcome::Unchanged => {
                let warnings = Diagnostics(self.validate(document).warnings().cloned().collect());
                Ok(Published { namespace, name, version, warnings })
            }
            PublishOutcome::Different => Err(PublishError::VersionTaken { namespace, name, version }),
        }
    }

    /// All findings about a document; errors refuse it, also what cannot be run yet.
    pub fn validate(&self, document: &str) -> Diagnostics {
        if let Some(too_large) = submit::too_large(document) {
            return too_large;
        }
        let (workflow, mut findings) = Workflow::parse_with_warnings(document);
        if let Some(workflow) = workflow
            && let Err(missing) = workflow.check_executable(document)
        {
            findings.0.extend(missing.0);
        }
        findings
    }

    /// The enrolled workers, by name.
    pub async fn workers(&self) -> Result<Vec<WorkerInfo>, ControlError> {
        let workers = self.core.store.workers().await;
        let workers = workers.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let info = |worker: store::Worker| {
            let link = self.core.registry.link(&worker.name);
            let name = worker.name.as_str().into();
            let running = u32::try_from(self.core.leases.of_worker(&name).len()).unwrap_or(u32::MAX);
            describe::info(worker, link.as_deref(), running)
        };
        Ok(workers.into_iter().map(info).collect())
    }

    /// Tells a worker to finish what it holds and to take no more.
    pub async fn drain(&self, worker: &str) -> Result<(), ControlError> {
        self.set_drain(worker, true).await
    }

    /// Lets a drained worker take steps again, from when it connects the next time.
    pub async fn undrain(&self, worker: &str) -> Result<(), ControlError> {
        self.set_drain(worker, false).await
    }

    async fn set_drain(&self, worker: &str, draining: bool) -> Result<(), ControlError> {
        let unavailable = |error: store::StoreError| ControlError::Unavailable(error.to_string());
        if !self.core.store.set_drain(worker, draining).await.map_err(unavailable)? {
            return Err(ControlError::NoSuchWorker(worker.to_owned()));
        }
        self.order(ToCommitter::Drain { worker: worker.into(), draining }).await
    }

    /// Takes a worker's credential away and closes its stream. Its leases expire.
    pub async fn remove_worker(&self, worker: &str) -> Result<(), ControlError> {
        let unavailable = |error: store::StoreError| ControlError::Unavailable(error.to_string());
        if !self.core.store.remove_worker(worker).await.map_err(unavailable)? {
            return Err(ControlError::NoSuchWorker(worker.to_owned()));
        }
        if let Some(link) = self.core.registry.link(worker) {
            self.order(ToCommitter::Disconnect(link)).await?;
        }
        Ok(())
    }

    async fn order(&self, order: ToCommitter) -> Result<(), ControlError> {
        let stopping = |_| ControlError::Unavailable("the server is stopping".to_owned());
        self.core.committer.send(order).await.map_err(stopping)
    }

    /// Why ready steps of a class ([`store::Step::class`]) wait, in words, such as `no worker offers gpu=1`; `None`
    /// when a connected worker takes such steps.
    pub fn waiting_reason(&self, class: &str) -> Option<String> {
        self.core.registry.why_waiting(class)
    }

    /// The store, for reading: runs, steps, history, workflows, tokens.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        self.core.metrics.runs_cached.set(self.core.schedule.cached() as u64);
        &self.core.metrics
    }

    /// Whether requests can be taken; else why not.
    pub fn ready(&self) -> Result<(), String> {
        match self.core.health.reason() {
            None => Ok(()),
            Some(reason) => Err(format!("the store does not take commits: {reason}")),
        }
    }
}
