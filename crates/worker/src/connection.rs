//! The stream to the server: enrolment, reconnects, credits, heartbeats, and the fence that stops steps whose lease can
//! no longer be held.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::id::AttemptId;
use protocol::worker_api::worker_service_client::WorkerServiceClient;
use protocol::worker_api::{
    Assignment, Draining, EnrolRequest, Heartbeat, Hello, Logs, Ready, Report, Reports, ServerMessage,
    Welcome, WorkerMessage, report, server_message, worker_message,
};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use crate::config::WorkerConfig;
use crate::error::WorkerError;
use crate::running::Stop;
use crate::step::Steps;

/// Version of the worker protocol, sent in the first message.
const PROTOCOL: u32 = 1;
/// Messages that wait for the stream.
const STREAM_QUEUE: usize = 64;
/// Bytes of log in one message.
const LOG_BATCH_BYTES: usize = 256 * 1024;
/// Largest message from the server: an assignment carries a whole step.
const MAX_MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// First and longest pause between attempts to connect.
const RECONNECT: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(5));
/// How long a drained worker waits for its steps before it stops them.
const DRAIN_LIMIT: Duration = Duration::from_secs(600);

/// A join token was refused, or the server could not be asked.
#[derive(Debug, thiserror::Error)]
#[error("the worker could not be enrolled: {0}")]
pub struct EnrolError(pub String);

/// Trades a join token for the worker's own credential.
///
/// # Errors
/// The server cannot be reached, the token is unknown or used, or the name is taken.
pub async fn enrol(server: &str, join_token: &str, name: &str) -> Result<(String, String), EnrolError> {
    let channel = endpoint(server)
        .map_err(|e| EnrolError(e.to_string()))?
        .connect()
        .await
        .map_err(|e| EnrolError(format!("cannot reach {server}: {e}")))?;
    let request = EnrolRequest { join_token: join_token.to_owned(), name: name.to_owned() };
    let answer = WorkerServiceClient::new(channel)
        .enrol(request)
        .await
        .map_err(|status| EnrolError(status.message().to_owned()))?
        .into_inner();
    Ok((answer.name, answer.credential))
}

fn endpoint(server: &str) -> Result<Endpoint, WorkerError> {
    let wrong = |source| WorkerError::ServerAddress { url: server.to_owned(), source };
    Ok(Endpoint::from_shared(server.to_owned())
        .map_err(wrong)?
        .connect_timeout(Duration::from_secs(5))
        .http2_keep_alive_interval(Duration::from_secs(5))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true)
        .tcp_nodelay(true))
}

/// Runs a worker until `shutdown` is cancelled; then it drains: finishes what it holds, takes no more.
///
/// `pools` are the sandbox backends, best first; with none, the worker takes mode 0 only.
///
/// # Errors
/// The server's address is no URL, the server refuses the credential, or a sandbox backend has ended: the worker is then
/// started again, and the server hands out anew what it held. A server that cannot be reached is no error:
/// the worker tries again for as long as it lives.
pub async fn run(
    config: WorkerConfig,
    pools: Vec<Arc<sandbox::pool::Pool>>,
    shutdown: CancellationToken,
) -> Result<(), WorkerError> {
    let channel = endpoint(&config.server)?.connect_lazy();
    let credential: MetadataValue<Ascii> = format!("Bearer {}", config.credential).parse().map_err(|_| {
        WorkerError::Refused { message: "it holds characters that HTTP does not allow".to_owned() }
    })?;
    let steps = Steps::new(config, pools, channel.clone(), credential.clone())?;
    let gone = steps.sandboxes_gone.clone();
    // Known before the first hello, so that no step comes for a sandbox backend whose daemon is not there.
    steps.sandboxes.check(&gone).await;
    let watched = Arc::clone(&steps);
    let mut link = Link { channel, credential, steps, shutdown };
    tokio::select! {
        ended = link.keep_connected() => ended,
        () = watched.sandboxes.watch(&gone) => unreachable!("the watch has no end"),
        () = gone.cancelled() => Err(WorkerError::SandboxesGone),
    }
}

/// Why a stream ended.
enum Ended {
    Drained,
    Lost(String),
    Refused(String),
}

struct Link {
    channel: Channel,
    credential: MetadataValue<Ascii>,
    steps: Arc<Steps>,
    shutdown: CancellationToken,
}

impl Link {
    async fn keep_connected(&mut self) -> Result<(), WorkerError> {
        let mut pause = RECONNECT.0;
        let mut fence: Option<Instant> = None;
        loop {
            let started = Instant::now();
            match self.stream(&mut fence).await {
                Ended::Drained => return Ok(()),
                Ended::Refused(message) => {
                    self.steps.running.stop_all(Stop::LeaseLost);
                    return Err(WorkerError::Refused { message });
                }
                Ended::Lost(why) => tracing::warn!(%why, "the stream to the server ended; connecting again"),
            }
            if started.elapsed() > RECONNECT.1 {
                pause = RECONNECT.0;
            }
            if self.shutdown.is_cancelled() && self.steps.running.len() == 0 {
                return Ok(());
            }
            self.wait_behind_fence(&mut fence, pause).await;
            pause = (pause * 2).min(RECONNECT.1);
        }
    }

    /// Pauses before the next attempt. When the fence passes meanwhile, the leases can no longer be held, and another
    /// worker may have the steps: they are stopped here.
    async fn wait_behind_fence(&self, fence: &mut Option<Instant>, pause: Duration) {
        tokio::time::sleep(pause).await;
        if fence.is_some_and(|at| Instant::now() >= at) {
            *fence = None;
            let lost = self.steps.running.len();
            if lost > 0 {
                tracing::warn!(steps = lost, "no server for the time of a lease: stopping the steps");
                self.steps.running.stop_all(Stop::LeaseLost);
            }
        }
    }

    async fn stream(&self, fence: &mut Option<Instant>) -> Ended {
        let (outgoing, receiver) = mpsc::channel(STREAM_QUEUE);
        let changes = self.steps.sandboxes.changes();
        let hello = self.steps.hello(PROTOCOL);
        if outgoing.send(message(worker_message::Kind::Hello(hello))).await.is_err() {
            return Ended::Lost("the stream closed at once".to_owned());
        }
        let mut request = Request::new(ReceiverStream::new(receiver));
        request.metadata_mut().insert("authorization", self.credential.clone());
        let mut client =
            WorkerServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        let mut incoming = match client.work(request).await {
            Ok(response) => response.into_inner(),
            Err(status) if status.code() == tonic::Code::Unauthenticated => {
                return Ended::Refused(status.message().to_owned());
            }
            Err(status) => return Ended::Lost(status.message().to_owned()),
        };
        let welcome = match incoming.next().await {
            Some(Ok(ServerMessage { kind: Some(server_message::Kind::Welcome(welcome)) })) => welcome,
            Some(Err(status)) => return Ended::Lost(status.message().to_owned()),
            _ => return Ended::Lost("the server did not begin with its welcome".to_owned()),
        };
        self.session(welcome, &mut incoming, outgoing, changes, fence).await
    }

    async fn session(
        &self,
        welcome: Welcome,
        incoming: &mut tonic::Streaming<ServerMessage>,
        outgoing: mpsc::Sender<WorkerMessage>,
        mut changes: watch::Receiver<()>,
        fence: &mut Option<Instant>,
    ) -> Ended {
        tracing::info!(server = %welcome.server, "connected");
        let lease = Duration::from_secs(welcome.lease_seconds.clamp(1, 3600).into());
        let beat_every = Duration::from_secs(welcome.heartbeat_seconds.clamp(1, 3600).into());
        *fence = Some(Instant::now() + lease);
        for attempt in attempts(&welcome.lost) {
            self.steps.running.stop(attempt, Stop::LeaseLost);
            self.steps.settled([attempt]);
        }
        self.steps.outbox.rewind();
        let writer = Writer { steps: self.steps.clone(), outgoing };
        let mut writing =
            tokio::spawn(writer.run(self.steps.free_slots(), beat_every, self.shutdown.clone()));
        let mut beats = Beats::new(lease);
        let ended = loop {
            let received = tokio::select! {
                received = incoming.next() => received,
                ended = &mut writing => break if ended.unwrap_or(false) { Ended::Drained } else {
                    Ended::Lost("the stream does not take more".to_owned())
                },
                _ = changes.changed() => {
                    break Ended::Lost("what its sandbox backends can do has changed".to_owned());
                }
                () = tokio::time::sleep_until(fence.unwrap_or_else(|| Instant::now() + lease)) => {
                    self.steps.running.stop_all(Stop::LeaseLost);
                    break Ended::Lost("the server is silent for the time of a lease".to_owned());
                }
            };
            match received {
                None => break Ended::Lost("the server closed the stream".to_owned()),
                Some(Err(status)) if status.code() == tonic::Code::Unauthenticated => {
                    break Ended::Refused(status.message().to_owned());
                }
                Some(Err(status)) => break Ended::Lost(status.message().to_owned()),
                Some(Ok(message)) => {
                    if let Some(until) = self.receive(message, &mut beats) {
                        *fence = Some(until);
                    }
                }
            }
        };
        writing.abort();
        ended
    }

    /// Takes one message; gives the new end of the leases when it was the answer to a heartbeat.
    fn receive(&self, message: ServerMessage, beats: &mut Beats) -> Option<Instant> {
        match message.kind? {
            server_message::Kind::Assign(assign) => {
                for assignment in assign.steps {
                    self.begin(assignment);
                }
            }
            server_message::Kind::Cancel(cancel) => {
                for attempt in attempts(&cancel.attempts) {
                    self.steps.running.stop(attempt, Stop::Cancelled);
                }
            }
            server_message::Kind::Acknowledge(acknowledged) => {
                self.steps.settled(attempts(&acknowledged.attempts));
            }
            server_message::Kind::Drain(_) => self.shutdown.cancel(),
            server_message::Kind::Heartbeat(Heartbeat { beat, .. }) => return beats.answered(beat),
            server_message::Kind::Welcome(_) => {}
        }
        None
    }

    fn begin(&self, assignment: Assignment) {
        let Some(attempt) = assignment.attempt.as_ref().and_then(|wire| AttemptId::try_from(wire).ok())
        else {
            tracing::error!("the server assigned a step without a valid id");
            return;
        };
        Steps::begin(&self.steps, attempt, assignment);
    }
}

/// When each heartbeat was sent: beat n goes out n periods after the first, so only its time of sending is needed.
struct Beats {
    lease: Duration,
    epoch: Instant,
}

impl Beats {
    fn new(lease: Duration) -> Self {
        Beats { lease, epoch: Instant::now() }
    }

    /// Heartbeats carry the milliseconds since the stream began as their `beat`.
    fn answered(&self, beat: u64) -> Option<Instant> {
        let sent = self.epoch.checked_add(Duration::from_millis(beat))?;
        (sent <= Instant::now()).then(|| sent + self.lease)
    }
}

/// Sends everything that leaves the worker on one stream.
struct Writer {
    steps: Arc<Steps>,
    outgoing: mpsc::Sender<WorkerMessage>,
}

impl Writer {
    /// Runs until the stream closes (`false`) or the worker has drained (`true`).
    async fn run(self, credit: u32, beat_every: Duration, shutdown: CancellationToken) -> bool {
        let epoch = Instant::now();
        let mut beats = tokio::time::interval(beat_every);
        let mut draining = false;
        let mut drain_by = epoch;
        if credit > 0
            && !shutdown.is_cancelled()
            && !self.send(worker_message::Kind::Ready(Ready { credit })).await
        {
            return false;
        }
        loop {
            let sent = tokio::select! {
                biased;
                batch = self.steps.outbox.take() => self.outcomes(batch, draining).await,
                () = self.steps.progressed() => self.progress().await,
                _ = beats.tick() => {
                    let beat = epoch.elapsed().as_millis() as u64;
                    let running = self.steps.running.len() as u32;
                    self.send(worker_message::Kind::Heartbeat(Heartbeat { running, beat })).await
                }
                chunks = self.steps.logs.take(LOG_BATCH_BYTES) => {
                    self.send(worker_message::Kind::Logs(Logs { chunks })).await
                }
                () = shutdown.cancelled(), if !draining => {
                    draining = true;
                    drain_by = Instant::now() + DRAIN_LIMIT;
                    self.send(worker_message::Kind::Draining(Draining {})).await
                }
                () = self.steps.idle(), if draining => return self.remaining_logs().await,
                () = tokio::time::sleep_until(drain_by), if draining => {
                    tracing::warn!(running = self.steps.running.len(), "draining took too long: stopping the steps");
                    self.steps.running.stop_all(Stop::Cancelled);
                    drain_by += DRAIN_LIMIT;
                    true
                }
            };
            if !sent {
                return false;
            }
        }
    }

    async fn outcomes(&self, batch: Vec<(AttemptId, Bytes)>, draining: bool) -> bool {
        // What was said and what began comes before how it ended.
        if !self.progress().await || !self.remaining_logs().await {
            return false;
        }
        let credit = batch.len() as u32;
        if credit > 0 && !draining && !self.send(worker_message::Kind::Ready(Ready { credit })).await {
            return false;
        }
        let reports = batch
            .into_iter()
            .map(|(attempt, outcome)| Report {
                attempt: Some(attempt.into()),
                kind: Some(report::Kind::Outcome(outcome.into())),
            })
            .collect();
        self.send(worker_message::Kind::Reports(Reports { reports })).await
    }

    async fn progress(&self) -> bool {
        let credit = self.steps.take_unreported();
        if credit > 0 && !self.send(worker_message::Kind::Ready(Ready { credit })).await {
            return false;
        }
        let reports = self.steps.take_progress();
        reports.is_empty() || self.send(worker_message::Kind::Reports(Reports { reports })).await
    }

    async fn remaining_logs(&self) -> bool {
        loop {
            let chunks = self.steps.logs.take_now(LOG_BATCH_BYTES);
            if chunks.is_empty() {
                return true;
            }
            if !self.send(worker_message::Kind::Logs(Logs { chunks })).await {
                return false;
            }
        }
    }

    async fn send(&self, kind: worker_message::Kind) -> bool {
        self.outgoing.send(message(kind)).await.is_ok()
    }
}

fn message(kind: worker_message::Kind) -> WorkerMessage {
    WorkerMessage { kind: Some(kind) }
}

fn attempts(wire: &[protocol::worker_api::Attempt]) -> impl Iterator<Item = AttemptId> {
    wire.iter().filter_map(|attempt| AttemptId::try_from(attempt).ok())
}

impl Steps {
    fn hello(&self, protocol: u32) -> Hello {
        let mut held = self.running.held();
        held.extend(self.outbox.held());
        held.sort_unstable();
        held.dedup();
        self.describe(protocol, held.into_iter().map(Into::into).collect())
    }
}
