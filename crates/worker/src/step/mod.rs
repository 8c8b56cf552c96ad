//! Running a step, by its mode. Every way to execute work in Sagewai is below this module.

mod bare;
mod http;
mod image;
mod process;
mod request;
mod sandboxed;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use protocol::id::AttemptId;
use protocol::step::{Artifact, Mode, StepError, StepOutcome, StepSpec, Work};
use protocol::worker_api::{Assignment, Attempt, Hello, Progress, Report, report};
use sandbox::egress::Dialer;
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use crate::artifact::ArtifactStore;
use crate::broker::BrokerClient;
use crate::config::WorkerConfig;
use crate::error::{WorkerError, configuration, runtime};
use crate::log::{LogQueue, StepLog};
use crate::outbox::Outbox;
use crate::running::{Running, Stop};
use crate::sandboxes::Sandboxes;

/// The worker's steps: what runs, what is reported, what was said.
pub(crate) struct Steps {
    config: WorkerConfig,
    pub(crate) sandboxes: Sandboxes,
    http: http::HttpCaller,
    dialer: Dialer,
    broker: Option<BrokerClient>,
    artifacts: ArtifactStore,
    pub(crate) running: Running,
    pub(crate) outbox: Outbox,
    pub(crate) logs: Arc<LogQueue>,
    progress: Mutex<HashMap<AttemptId, report::Kind>>,
    progress_wake: Notify,
    ended: Notify,
    /// Cancelled when a sandbox backend has ended: this worker can keep its promises no longer.
    pub(crate) sandboxes_gone: CancellationToken,
    /// Slots of steps that ended without a report, whose credit is still to be given back.
    unreported: AtomicU32,
}

/// One attempt in the making: everything that the code of a mode needs.
pub(crate) struct Attempted<'a> {
    pub(crate) steps: &'a Steps,
    pub(crate) id: AttemptId,
    pub(crate) spec: &'a StepSpec,
    pub(crate) grant: &'a str,
    pub(crate) log: StepLog,
    pub(crate) cancel: CancellationToken,
    pub(crate) time_limit: Duration,
}

/// What a step gives back when it succeeds.
pub(crate) struct Done {
    pub(crate) output: Value,
    pub(crate) artifacts: Vec<Artifact>,
}

impl From<Value> for Done {
    fn from(output: Value) -> Self {
        Done { output, artifacts: Vec::new() }
    }
}

/// Why a step gave nothing back.
pub(crate) enum Undone {
    /// It failed; `try` may catch it.
    Failed(StepError),
    /// It was told to stop.
    Stopped,
    /// Its sandbox ended before it did; whether the step was the cause is still to be found out.
    SandboxEnded(StepError),
    /// Its sandbox was lost through no fault of the step: the server hands it out again.
    Lost(String),
}

impl From<StepError> for Undone {
    fn from(error: StepError) -> Self {
        Undone::Failed(error)
    }
}

impl Steps {
    pub(crate) fn new(
        config: WorkerConfig,
        pools: Vec<Arc<sandbox::pool::Pool>>,
        server: Channel,
        credential: MetadataValue<Ascii>,
    ) -> Result<Arc<Self>, WorkerError> {
        let broker =
            config.broker.as_ref().map(|access| BrokerClient::new(access, &config.name)).transpose()?;
        let dialer = Dialer::new(config.egress.clone());
        Ok(Arc::new(Steps {
            http: http::HttpCaller::new(dialer.clone())?,
            dialer,
            artifacts: ArtifactStore::new(server, credential),
            broker,
            config,
            sandboxes: Sandboxes::new(pools),
            running: Running::default(),
            outbox: Outbox::default(),
            logs: Arc::default(),
            progress: Mutex::default(),
            progress_wake: Notify::new(),
            ended: Notify::new(),
            sandboxes_gone: CancellationToken::new(),
            unreported: AtomicU32::new(0),
        }))
    }

    /// What this worker offers.
    pub(crate) fn describe(&self, protocol: u32, held: Vec<Attempt>) -> Hello {
        let offers = self.sandboxes.offers(self.broker.is_some());
        let in_sandboxes = [Mode::Sandboxed, Mode::Identity, Mode::Full];
        let offered =
            |mode: &Mode| offers.iter().any(|offer| offer.modes.iter().any(|name| name == mode.name()));
        let modes = std::iter::once(Mode::Bare).chain(in_sandboxes.into_iter().filter(offered));
        Hello {
            protocol,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            labels: self.config.labels.clone().into_iter().collect(),
            modes: modes.map(|mode| mode.name().to_owned()).collect(),
            sandboxes: offers.iter().map(|offer| offer.name.clone()).collect(),
            offers,
            agents: self.config.agents.iter().map(|agent| agent.name.clone()).collect(),
            bare_run: self.config.bare_run,
            slots: self.config.capacity.slots,
            held,
        }
    }

    /// Slots that neither a running step nor an unacknowledged outcome occupies, at the start of a stream.
    pub(crate) fn free_slots(&self) -> u32 {
        self.unreported.store(0, Ordering::Relaxed);
        let mut held = self.running.held();
        held.extend(self.outbox.held());
        held.sort_unstable();
        held.dedup();
        self.config.capacity.slots.saturating_sub(held.len() as u32)
    }

    /// The credit of steps that ended without a report.
    pub(crate) fn take_unreported(&self) -> u32 {
        self.unreported.swap(0, Ordering::Relaxed)
    }

    /// Waits for progress to report.
    pub(crate) async fn progressed(&self) {
        self.progress_wake.notified().await;
    }

    /// Takes the progress that is to be reported.
    pub(crate) fn take_progress(&self) -> Vec<Report> {
        let noted = std::mem::take(&mut *self.progress.lock().expect("no holder of the progress panics"));
        noted
            .into_iter()
            .map(|(attempt, kind)| Report { attempt: Some(attempt.into()), kind: Some(kind) })
            .collect()
    }

    /// The server has committed these outcomes, or has said that they are no longer this worker's.
    pub(crate) fn settled(&self, attempts: impl IntoIterator<Item = AttemptId>) {
        self.outbox.forget(attempts);
        self.ended.notify_one();
    }

    /// Waits until no step runs and every outcome has been acknowledged.
    pub(crate) async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            if self.running.len() == 0 && self.outbox.held().is_empty() {
                return;
            }
            ended.await;
        }
    }

    /// Begins an assigned step. A repeated assignment changes nothing.
    pub(crate) fn begin(self: &Arc<Self>, id: AttemptId, assignment: Assignment) {
        if self.outbox.holds(id) {
            return;
        }
        let Some(cancel) = self.running.begin(id) else { return };
        let spec: StepSpec = match serde_json::from_slice(&assignment.spec) {
            Ok(spec) => spec,
            Err(error) => {
                let detail = format!(
                    "this worker does not understand the step ({error}); is it older than the server?"
                );
                return self.end(id, Err(configuration(detail).into()));
            }
        };
        // The one kind of work that needs no task of its own.
        if let (Mode::Bare, Work::Noop { .. }) = (spec.mode, &spec.work) {
            let Work::Noop { value } = spec.work else { unreachable!("matched above") };
            return self.end(id, Ok(value.into()));
        }
        let steps = self.clone();
        tokio::spawn(async move {
            let ran = AssertUnwindSafe(steps.run(id, &spec, &assignment.grant, cancel)).catch_unwind().await;
            let result = ran.unwrap_or_else(|_| {
                Err(runtime("the worker failed within this step; its log has the details").into())
            });
            steps.end(id, result);
        });
    }

    async fn run(
        &self,
        id: AttemptId,
        spec: &StepSpec,
        grant: &str,
        cancel: CancellationToken,
    ) -> Result<Done, Undone> {
        let limit = spec.timeout_ms.map_or(self.config.capacity.step_timeout, Duration::from_millis);
        let attempted = Attempted {
            steps: self,
            id,
            spec,
            grant,
            log: StepLog::new(self.logs.clone(), id),
            cancel,
            time_limit: limit.min(self.config.capacity.step_timeout),
        };
        match spec.mode {
            Mode::Bare => bare::run(&attempted).await,
            Mode::Sandboxed | Mode::Identity | Mode::Full | Mode::FullJit => sandboxed::run(&attempted).await,
        }
    }

    fn end(&self, id: AttemptId, result: Result<Done, Undone>) {
        let outcome = match result {
            Ok(Done { output, artifacts }) => StepOutcome::Completed { output, artifacts },
            Err(Undone::Failed(error) | Undone::SandboxEnded(error)) => StepOutcome::Failed { error },
            Err(Undone::Stopped) => StepOutcome::Cancelled,
            Err(Undone::Lost(reason)) => {
                tracing::warn!(attempt = %id, reason, "a step was lost with its sandbox");
                // Said once: if it does not arrive, the next stream's hello no longer names the attempt as held.
                self.note_progress(id, report::Kind::Lost(reason));
                return self.end_unreported(id);
            }
        };
        if self.running.told(id) == Some(Stop::LeaseLost) {
            return self.end_unreported(id);
        }
        // Into the outbox before it leaves the running steps, so that it is held at every moment.
        let text = serde_json::to_vec(&outcome).expect("a step's outcome is JSON");
        self.outbox.put(id, Bytes::from(text));
        self.running.end(id);
        self.ended.notify_one();
    }

    /// Ends a step that leaves no outcome; its slot is free again.
    fn end_unreported(&self, id: AttemptId) {
        self.running.end(id);
        self.unreported.fetch_add(1, Ordering::Relaxed);
        self.progress_wake.notify_one();
        self.ended.notify_one();
    }

    fn note_progress(&self, id: AttemptId, kind: report::Kind) {
        self.progress.lock().expect("no holder of the progress panics").insert(id, kind);
        self.progress_wake.notify_one();
    }
}

impl Attempted<'_> {
    /// Reports that the step's work has begun; `sandbox` names where, if it is in one.
    pub(crate) fn started(&self, sandbox: &str) {
        self.steps.note_progress(
            self.id,
            report::Kind::Progress(Progress {
                note: String::new(),
                started: true,
                sandbox: sandbox.to_owned(),
            }),
        );
    }
}
