//! A control plane with a fake clock, a store with faults, and fake workers, for the tests of this folder.
#![allow(dead_code, unreachable_pub, reason = "each test program uses a part of it")]
#![allow(clippy::allow_attributes, reason = "an expectation would not hold in every test program")]

pub mod faulty;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use control::clock::{Clock, ManualClock};
use control::watch::RunEvent;
use control::workers::WorkerStream;
use control::{Control, ControlConfig, NewRun, Source};
use faulty::{Faults, FaultyStore};
use futures_util::StreamExt;
use protocol::id::{AttemptId, RunId, Timestamp};
use protocol::step::{StepError, StepOutcome, StepSpec, Work};
use protocol::worker_api::{
    Heartbeat, Hello, Progress, Ready, Report, Reports, ServerMessage, WorkerMessage, report, server_message,
    worker_message,
};
use serde_json::{Value, json};
use store::memory::MemoryStore;
use store::{RunStatus, Store, Worker};
use tokio::task::JoinHandle;

/// When fake time begins.
pub const START: Timestamp = Timestamp(1_800_000_000_000);
/// How long a test waits for what must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server over a store that outlives it.
pub struct Plant {
    pub durable: Arc<dyn Store>,
    pub clock: ManualClock,
    pub faults: Faults,
    pub control: Control,
    server: JoinHandle<()>,
    config: ControlConfig,
}

impl Plant {
    /// A server over an empty store in memory.
    pub async fn new() -> Self {
        Self::with(Arc::new(MemoryStore::new()), |_| {}).await
    }

    /// A server over a store, with settings of the test.
    pub async fn with(durable: Arc<dyn Store>, change: impl FnOnce(&mut ControlConfig)) -> Self {
        let clock = ManualClock::new(START);
        let mut config = ControlConfig {
            clock: Clock::Manual(clock.clone()),
            seed: Some(1),
            planner_threads: 2,
            ..ControlConfig::default()
        };
        change(&mut config);
        let faults = Faults::default();
        let store = FaultyStore { inner: Arc::clone(&durable), faults: faults.clone() };
        let (control, server) =
            control::start(config.clone(), Arc::new(store)).await.expect("the server starts");
        Plant { durable, clock, faults, control, server, config }
    }

    /// Ends the server as a crash does, and starts another one over the same store.
    pub async fn restart(&mut self) {
        self.restart_after(0).await;
    }

    /// As [`Plant::restart`], with so much time between the end and the start.
    pub async fn restart_after(&mut self, milliseconds: i64) {
        // Its tasks may run on for a moment, which must not be seen.
        self.faults.kill();
        self.server.abort();
        let _ = (&mut self.server).await;
        self.clock.advance(milliseconds);
        self.faults = Faults::default();
        self.config.seed = self.config.seed.map(|seed| seed + 1_000_000);
        let store = FaultyStore { inner: Arc::clone(&self.durable), faults: self.faults.clone() };
        let (control, server) =
            control::start(self.config.clone(), Arc::new(store)).await.expect("the server starts");
        self.control = control;
        self.server = server;
    }

    /// Publishes a document.
    pub async fn publish(&self, document: &str) {
        if let Err(error) = self.control.publish(document).await {
            panic!("the document is published: {error}");
        }
    }

    /// Starts a run of a published workflow of namespace `test`.
    pub async fn run(&self, name: &str, input: Value) -> RunId {
        self.control.submit(new_run(name, input)).await.expect("the run is accepted")
    }

    /// Enrols a worker that takes modes 0 and 1, and opens its stream.
    pub async fn worker(&self, name: &str) -> FakeWorker {
        self.enrol(name).await;
        FakeWorker::connect(&self.control, name, plain_hello()).await
    }

    /// Enrols a worker.
    pub async fn enrol(&self, name: &str) {
        let worker = stored_worker(name);
        self.durable.enrol_worker(worker).await.expect("the name is free");
    }

    /// The status of a run.
    pub async fn status(&self, run: RunId) -> RunStatus {
        self.durable.run_summary(run).await.expect("the store reads").expect("the run exists").status
    }

    /// The output of a run.
    pub async fn output(&self, run: RunId) -> Value {
        let values = self.durable.run_values(run).await.expect("the store reads").expect("the run exists");
        serde_json::from_slice(&values.output.expect("the run has an output")).expect("an output is JSON")
    }

    /// The error of a run.
    pub async fn error(&self, run: RunId) -> Value {
        let values = self.durable.run_values(run).await.expect("the store reads").expect("the run exists");
        serde_json::from_slice(&values.error.expect("the run has an error")).expect("an error is JSON")
    }

    /// Waits until the run has ended.
    pub async fn ended(&self, run: RunId) -> RunStatus {
        let mut events = self.control.watch(run).await.expect("the run exists");
        let wait = async {
            while let Some(event) = events.next().await {
                if let RunEvent::Status { ended: true, .. } = event {
                    return;
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the run ends in time");
        self.status(run).await
    }

    /// Waits until the run has this status.
    pub async fn reaches(&self, run: RunId, status: RunStatus) {
        let mut events = self.control.watch(run).await.expect("the run exists");
        let wait = async {
            loop {
                match events.next().await {
                    Some(RunEvent::Status { status: now, .. }) if now == status.name() => return,
                    Some(_) => {}
                    None => panic!("the run ended before it was {}", status.name()),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait).await.expect("the run gets there in time");
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Waits until `holds` says so; it is asked again and again while the server works.
pub async fn until<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let begin = std::time::Instant::now();
    while !holds().await {
        assert!(begin.elapsed() < PATIENCE, "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A stored worker with a credential made of its name.
pub fn stored_worker(name: &str) -> Worker {
    let mut credential = [0; 32];
    credential[..name.len()].copy_from_slice(name.as_bytes());
    Worker {
        name: name.to_owned(),
        credential,
        description: bytes::Bytes::new(),
        enrolled_at: START,
        alive_until: Timestamp(0),
        draining: false,
    }
}

/// A run of a published workflow of namespace `test`.
pub fn new_run(name: &str, input: Value) -> NewRun {
    NewRun {
        namespace: Some("test".to_owned()),
        source: Source::Published { name: name.to_owned(), version: None },
        input,
        idempotency_key: None,
        labels: BTreeMap::new(),
    }
}

/// A document of namespace `test`, version 1.0.0, with these tasks.
pub fn document(name: &str, tasks: &Value) -> String {
    json!({
        "document": { "dsl": "1.0.3", "namespace": "test", "name": name, "version": "1.0.0" },
        "do": tasks,
    })
    .to_string()
}

/// Three steps in a row that do nothing.
pub fn three_steps() -> String {
    let noop = |n: u32| json!({ "call": "noop", "with": { "n": n } });
    document("three", &json!([{ "one": noop(1) }, { "two": noop(2) }, { "three": noop(3) }]))
}

/// What a plain worker says of itself.
pub fn plain_hello() -> Hello {
    Hello {
        protocol: 1,
        version: "test".to_owned(),
        modes: vec!["bare".to_owned(), "sandboxed".to_owned()],
        sandboxes: vec!["namespace".to_owned()],
        slots: 16,
        ..Hello::default()
    }
}

/// A worker that does as the test says.
pub struct FakeWorker {
    pub name: String,
    pub stream: WorkerStream,
    /// Steps that were assigned and not reported, with the grant of each.
    pub held: BTreeMap<AttemptId, (StepSpec, String)>,
    /// Attempts that the server told to stop.
    pub cancelled: Vec<AttemptId>,
    /// Attempts that the server said are lost.
    pub lost: Vec<AttemptId>,
    /// Acknowledged reports.
    pub acknowledged: Vec<AttemptId>,
    pub drained: bool,
    pub beats: u64,
}

impl FakeWorker {
    /// Opens the stream of an enrolled worker and takes the welcome.
    pub async fn connect(control: &Control, name: &str, hello: Hello) -> Self {
        Self::try_connect(control, name, hello).await.expect("the hello is accepted")
    }

    /// As [`FakeWorker::connect`], but the server may refuse.
    pub async fn try_connect(control: &Control, name: &str, hello: Hello) -> Result<Self, String> {
        let worker = stored_worker(name);
        let stream = WorkerStream::open(control, &worker, hello).await?;
        let mut worker = FakeWorker {
            name: name.to_owned(),
            stream,
            held: BTreeMap::new(),
            cancelled: Vec::new(),
            lost: Vec::new(),
            acknowledged: Vec::new(),
            drained: false,
            beats: 0,
        };
        match worker.receive().await {
            true => Ok(worker),
            false => Err("the server has closed the stream".to_owned()),
        }
    }

    /// Opens the stream again, as after a cut, with the leases it holds.
    pub async fn reconnect(self, control: &Control) -> Self {
        self.try_reconnect(control).await.expect("the hello is accepted")
    }

    /// As [`FakeWorker::reconnect`], but the server may refuse.
    pub async fn try_reconnect(self, control: &Control) -> Result<Self, String> {
        let mut hello = plain_hello();
        hello.held = self.held.keys().map(|attempt| (*attempt).into()).collect();
        let FakeWorker { name, held, stream, .. } = self;
        drop(stream);
        let mut worker = FakeWorker::try_connect(control, &name, hello).await?;
        for (attempt, spec) in held {
            if !worker.lost.contains(&attempt) {
                worker.held.insert(attempt, spec);
            }
        }
        Ok(worker)
    }

    /// Sends a message.
    pub async fn say(&mut self, kind: worker_message::Kind) {
        self.try_say(kind).await.expect("the server takes the message");
    }

    /// Sends a message that may get lost.
    pub async fn try_say(&mut self, kind: worker_message::Kind) -> Result<(), String> {
        self.stream.send(WorkerMessage { kind: Some(kind) }).await
    }

    /// As [`FakeWorker::ready`], but the message may get lost.
    pub async fn try_ready(&mut self, credit: u32) -> Result<(), String> {
        self.try_say(worker_message::Kind::Ready(Ready { credit })).await
    }

    /// As [`FakeWorker::beat`], but the message may get lost.
    pub async fn try_beat(&mut self) -> Result<(), String> {
        self.beats += 1;
        self.try_say(worker_message::Kind::Heartbeat(Heartbeat { running: 0, beat: self.beats })).await
    }

    /// As [`FakeWorker::report`], but the message may get lost.
    pub async fn try_report(&mut self, attempt: AttemptId, outcome: &StepOutcome) -> Result<(), String> {
        let outcome = serde_json::to_vec(outcome).expect("an outcome is JSON");
        let report = Report { attempt: Some(attempt.into()), kind: Some(report::Kind::Outcome(outcome)) };
        self.try_say(worker_message::Kind::Reports(Reports { reports: vec![report] })).await
    }

    /// Takes `credit` more steps.
    pub async fn ready(&mut self, credit: u32) {
        self.say(worker_message::Kind::Ready(Ready { credit })).await;
    }

    /// Says that it lives.
    pub async fn beat(&mut self) {
        self.beats += 1;
        let beat = self.beats;
        self.say(worker_message::Kind::Heartbeat(Heartbeat { running: 0, beat })).await;
    }

    /// Says that an attempt has begun.
    pub async fn begin(&mut self, attempt: AttemptId) {
        let progress = Progress { note: String::new(), started: true, sandbox: "namespace:1".to_owned() };
        let report = Report { attempt: Some(attempt.into()), kind: Some(report::Kind::Progress(progress)) };
        self.say(worker_message::Kind::Reports(Reports { reports: vec![report] })).await;
    }

    /// Says that an attempt was lost with its sandbox.
    pub async fn lose(&mut self, attempt: AttemptId) {
        let lost = report::Kind::Lost("its sandbox is gone".to_owned());
        let report = Report { attempt: Some(attempt.into()), kind: Some(lost) };
        self.say(worker_message::Kind::Reports(Reports { reports: vec![report] })).await;
    }

    /// Reports an outcome; the attempt is held until it is acknowledged.
    pub async fn report(&mut self, attempt: AttemptId, outcome: &StepOutcome) {
        let outcome = serde_json::to_vec(outcome).expect("an outcome is JSON");
        let report = Report { attempt: Some(attempt.into()), kind: Some(report::Kind::Outcome(outcome)) };
        self.say(worker_message::Kind::Reports(Reports { reports: vec![report] })).await;
    }

    /// Ends an attempt as its work says.
    pub async fn finish(&mut self, attempt: AttemptId) {
        let outcome = outcome_of(&self.held[&attempt].0);
        self.report(attempt, &outcome).await;
    }

    /// Waits for the next message and takes note of it. False when the server has closed the stream.
    pub async fn receive(&mut self) -> bool {
        let message = tokio::time::timeout(PATIENCE, self.stream.next()).await;
        match message.expect("the server says something in time") {
            Some(message) => {
                self.note(message);
                true
            }
            None => false,
        }
    }

    /// Takes note of the messages that have come.
    pub fn receive_all(&mut self) {
        while let Some(message) = self.stream.try_next() {
            self.note(message);
        }
    }

    fn note(&mut self, message: ServerMessage) {
        let ids = |wire: &[protocol::worker_api::Attempt]| {
            wire.iter().map(|id| AttemptId::try_from(id).expect("an attempt")).collect::<Vec<_>>()
        };
        match message.kind.expect("a message has a kind") {
            server_message::Kind::Welcome(welcome) => self.lost.extend(ids(&welcome.lost)),
            server_message::Kind::Assign(assign) => {
                for step in assign.steps {
                    let attempt =
                        AttemptId::try_from(&step.attempt.expect("an attempt")).expect("an attempt");
                    let spec = serde_json::from_slice(&step.spec).expect("a spec is JSON");
                    let before = self.held.insert(attempt, (spec, step.grant));
                    assert!(before.is_none(), "an attempt is assigned once");
                }
            }
            server_message::Kind::Cancel(cancel) => self.cancelled.extend(ids(&cancel.attempts)),
            server_message::Kind::Acknowledge(acknowledge) => {
                for attempt in ids(&acknowledge.attempts) {
                    self.held.remove(&attempt);
                    self.acknowledged.push(attempt);
                }
            }
            server_message::Kind::Drain(_) => self.drained = true,
            server_message::Kind::Heartbeat(_) => {}
        }
    }

    /// Waits until a step is held, and gives its attempt.
    pub async fn assigned(&mut self) -> AttemptId {
        loop {
            if let Some(attempt) = self.held.keys().next() {
                return *attempt;
            }
            assert!(self.receive().await, "the server keeps the stream open");
        }
    }

    /// Waits until the attempt's report is acknowledged.
    pub async fn acknowledged(&mut self, attempt: AttemptId) {
        while !self.acknowledged.contains(&attempt) {
            assert!(self.receive().await, "the server keeps the stream open");
        }
    }

    /// Takes steps and ends them for ever.
    pub async fn work(mut self, slots: u32) {
        self.ready(slots).await;
        loop {
            for attempt in self.held.keys().copied().collect::<Vec<_>>() {
                let (spec, _) = self.held.remove(&attempt).expect("it is held");
                self.ready(1).await;
                self.report(attempt, &outcome_of(&spec)).await;
            }
            if !self.receive().await {
                return;
            }
        }
    }
}

/// What a step comes to: its argument for a no-op, and a failure for everything else.
pub fn outcome_of(spec: &StepSpec) -> StepOutcome {
    match &spec.work {
        Work::Noop { value } => StepOutcome::Completed { output: value.clone(), artifacts: Vec::new() },
        _ => StepOutcome::Failed { error: failure("only no-ops are done here") },
    }
}

/// An error of a step.
pub fn failure(detail: &str) -> StepError {
    StepError {
        kind: protocol::step::error_type::RUNTIME.to_owned(),
        status: 500,
        title: "failed".to_owned(),
        detail: detail.to_owned(),
    }
}
