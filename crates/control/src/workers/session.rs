//! A worker's session: what it says on its stream, checked and passed on. Nothing a worker sends is believed: it reports
//! only what it holds, and every size has a limit.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use planner::limits::MAX_VALUE_BYTES;
use protocol::id::{AttemptId, Timestamp};
use protocol::step::{StepError, StepOutcome, error_type};
use protocol::worker_api::{Hello, LogChunk, Report, WorkerMessage, report, worker_message};
use tokio::sync::mpsc;
use tokio::time::Instant;

use store::blob::Blobs;

use super::link::{Outgoing, WorkerLink};
use super::liveness::Beat;
use super::reported::Reported;
use crate::core::Core;
use crate::dispatch::leases::Claim;
use crate::driver::committer::{Connect, ToCommitter};
use crate::driver::input::{Origin, Started};
use crate::logs::{LOG_CHUNK_LIMIT_BYTES, LogEntry, LogStream, STEP_LOG_LIMIT_BYTES};
use crate::watch::RunEvent;

/// The protocol's version that is spoken.
const PROTOCOL: u32 = 1;
/// How long a step runs before its begin is stored by itself; that of a shorter one is stored with its outcome.
const BEGIN_DELAY: Duration = Duration::from_millis(100);
/// Bytes of an outcome's JSON.
const MAX_OUTCOME_BYTES: usize = MAX_VALUE_BYTES + (64 << 10);
/// Bytes of a note of progress.
const MAX_NOTE_BYTES: usize = 1024;
/// Labels, modes, sandbox backends, agents of a worker, each.
const MAX_HELLO_ITEMS: usize = 128;
/// Bytes of one of them.
const MAX_HELLO_BYTES: usize = 256;
/// Leases a worker may say it holds.
const MAX_HELD: usize = 65_536;

/// Why a session ends.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SessionError {
    /// The worker broke the protocol.
    #[error("{0}")]
    Protocol(String),
    /// The control plane cannot serve it now.
    #[error("{0}")]
    Unavailable(String),
    /// Another stream has taken its place.
    #[error(
        "another process has connected with the credential of this worker, `{0}`, and this stream is closed: if it was not \
         this worker that came back, give each worker a credential of its own (another `worker.name` and `worker.data`, a \
         join token)"
    )]
    Replaced(String),
}

/// An open session.
pub(crate) struct Session {
    core: Arc<Core>,
    link: Arc<WorkerLink>,
    /// Attempts whose begin is told with their outcome, or soon if that takes longer.
    begun: HashMap<AttemptId, Started>,
    /// When the first of them was told.
    begun_since: Option<Instant>,
    /// Where artifacts are; `None` where nobody looks whether they are there.
    blobs: Option<Blobs>,
    /// Log bytes taken of attempts that are held.
    log_bytes: HashMap<AttemptId, LogUse>,
    ended: bool,
}

#[derive(Default)]
struct LogUse {
    bytes: u64,
    truncated: bool,
}

impl Session {
    /// Opens the session of an enrolled worker that has said hello. Its former session ends.
    pub(crate) async fn open(
        core: Arc<Core>,
        name: Arc<str>,
        draining: bool,
        mut hello: Hello,
        blobs: Option<Blobs>,
    ) -> Result<(Self, mpsc::Receiver<Outgoing>), SessionError> {
        check_hello(&hello)?;
        let held = held_attempts(&std::mem::take(&mut hello.held))?;
        let until = core.lease_end();
        let unavailable = |error: store::StoreError| SessionError::Unavailable(error.to_string());
        let description = super::describe::encode(&hello);
        core.store.describe_worker(&name, description).await.map_err(unavailable)?;
        core.store.touch_workers(vec![(name.as_ref().to_owned(), until)]).await.map_err(unavailable)?;
        let (link, messages) = WorkerLink::new(name, &hello, core.clock.now());
        core.registry.insert(Arc::clone(&link), until);
        let connect = Connect { link: Arc::clone(&link), held, draining };
        core.committer
            .send(ToCommitter::Connect(Box::new(connect)))
            .await
            .map_err(|_| SessionError::Unavailable("the server is stopping".to_owned()))?;
        let (begun, log_bytes) = (HashMap::new(), HashMap::new());
        let session = Session { core, link, begun, begun_since: None, log_bytes, blobs, ended: false };
        Ok((session, messages))
    }

    /// The link that messages for the worker go to.
    pub(crate) fn link(&self) -> &Arc<WorkerLink> {
        &self.link
    }

    /// When [`Session::flush`] is to be called.
    pub(crate) fn flush_at(&self) -> Option<Instant> {
        self.begun_since.filter(|_| !self.begun.is_empty()).map(|since| since + BEGIN_DELAY)
    }

    /// Takes a message of the worker.
    pub(crate) async fn handle(&mut self, message: WorkerMessage) -> Result<(), SessionError> {
        self.link.seen(self.core.clock.now());
        match message.kind {
            Some(worker_message::Kind::Ready(ready)) => {
                self.send(ToCommitter::Credit(Arc::clone(&self.link), ready.credit)).await
            }
            Some(worker_message::Kind::Reports(reports)) => self.reports(reports.reports).await,
            Some(worker_message::Kind::Logs(logs)) => self.logs(logs.chunks).await,
            Some(worker_message::Kind::Heartbeat(heartbeat)) => {
                let beat = Beat { link: Arc::clone(&self.link), beat: heartbeat.beat };
                self.core.beats.send(beat).await.map_err(|_| stopping())
            }
            Some(worker_message::Kind::Draining(_)) => {
                let worker = Arc::clone(&self.link.name);
                self.send(ToCommitter::Drain { worker, draining: true }).await
            }
            Some(worker_message::Kind::Hello(_)) => {
                Err(SessionError::Protocol("hello comes once, as the first message".to_owned()))
            }
            // A kind of a later version: nothing depends on it.
            None => Ok(()),
        }
    }

    /// Stores the begin of steps that take longer.
    pub(crate) async fn flush(&mut self) -> Result<(), SessionError> {
        self.begun_since = None;
        for (attempt, started) in std::mem::take(&mut self.begun) {
            self.send(ToCommitter::Started { attempt, started }).await?;
        }
        Ok(())
    }

    /// Ends the session.
    pub(crate) async fn end(mut self) {
        self.ended = true;
        self.core.registry.remove(&self.link);
        self.link.close();
        let _ = self.send(ToCommitter::Disconnect(Arc::clone(&self.link))).await;
    }

    async fn send(&self, message: ToCommitter) -> Result<(), SessionError> {
        self.core.committer.send(message).await.map_err(|_| stopping())
    }

    async fn reports(&mut self, reports: Vec<Report>) -> Result<(), SessionError> {
        let now = self.core.clock.now();
        let mut stale = Vec::new();
        for report in reports {
            let attempt = attempt_of(report.attempt.as_ref())?;
            match report.kind {
                Some(report::Kind::Progress(progress)) => {
                    self.progress(attempt, progress, now);
                }
                Some(report::Kind::Outcome(outcome)) => {
                    stale.extend(self.outcome(attempt, &outcome, now).err());
                }
                Some(report::Kind::Lost(reason)) => self.lost(attempt, reason).await?,
                None => {}
            }
        }
        if !stale.is_empty() {
            self.core.metrics.reports_stale.add(stale.len() as u64);
            // They are settled: the worker need not send them again.
            self.link.send(Outgoing::Acknowledge(stale));
        }
        Ok(())
    }

    /// The worker has lost a step through no fault of its own: it is handed out again.
    async fn lost(&mut self, attempt: AttemptId, reason: String) -> Result<(), SessionError> {
        if !self.core.leases.holds(&self.link.name, attempt) {
            return Ok(());
        }
        let reason = truncate(reason, MAX_NOTE_BYTES);
        tracing::warn!(%attempt, worker = %self.link.name, reason, "a worker lost a step");
        self.begun.remove(&attempt);
        self.log_bytes.remove(&attempt);
        self.send(ToCommitter::Lost(attempt, Arc::clone(&self.link))).await
    }

    fn progress(&mut self, attempt: AttemptId, progress: protocol::worker_api::Progress, now: Timestamp) {
        if !self.core.leases.holds(&self.link.name, attempt) {
            return;
        }
        if !progress.note.is_empty() && self.core.watchers.is_followed(attempt.run) {
            let text = truncate(progress.note, MAX_NOTE_BYTES);
            self.core
                .watchers
                .tell(attempt.run, RunEvent::Note { time: now, step: Some(attempt.step), text });
        }
        if progress.started {
            let sandbox = truncate(progress.sandbox, MAX_NOTE_BYTES);
            let sandbox = Some(sandbox).filter(|sandbox| !sandbox.is_empty());
            if self.begun.is_empty() {
                self.begun_since = Some(Instant::now());
            }
            self.begun.insert(attempt, Started { at: now, sandbox });
        }
    }

    /// Passes an outcome on to its run, or gives back an attempt that the worker does not hold.
    fn outcome(&mut self, attempt: AttemptId, outcome: &[u8], now: Timestamp) -> Result<(), AttemptId> {
        let cancelled = match self.core.leases.claim(&self.link.name, attempt) {
            Claim::Accepted { cancelled } => cancelled,
            Claim::Repeated => return Ok(()),
            Claim::Stale => return Err(attempt),
        };
        let logged = self.log_bytes.remove(&attempt).is_some();
        let outcome = match read_outcome(outcome) {
            Ok(outcome) => outcome,
            Err(error) => StepOutcome::Failed { error },
        };
        let origin = Origin::Report {
            attempt,
            worker: Arc::clone(&self.link.name),
            open: !cancelled,
            started: self.begun.remove(&attempt),
        };
        let report = Reported { attempt, outcome, origin, at: now };
        match (&self.blobs, report.artifacts().is_empty()) {
            (Some(blobs), false) => {
                let (core, blobs) = (Arc::clone(&self.core), blobs.clone());
                tokio::spawn(async move { report.checked(&blobs).await.pass_on(&core, logged) });
            }
            _ => report.pass_on(&self.core, logged),
        }
        Ok(())
    }

    async fn logs(&mut self, chunks: Vec<LogChunk>) -> Result<(), SessionError> {
        for chunk in chunks {
            let attempt = attempt_of(chunk.attempt.as_ref())?;
            if chunk.data.len() > LOG_CHUNK_LIMIT_BYTES {
                let size = chunk.data.len();
                return Err(SessionError::Protocol(format!(
                    "a log chunk of {size} bytes; the limit is {LOG_CHUNK_LIMIT_BYTES}"
                )));
            }
            if !self.core.leases.holds(&self.link.name, attempt) {
                continue;
            }
            let Some(entry) = self.admit(attempt, chunk) else { continue };
            self.core.metrics.log_bytes.add(entry.data.len() as u64);
            crate::logs::pass_on(&self.core, entry).await;
        }
        Ok(())
    }

    /// The chunk, or a note in its place when the step has written too much, or nothing after that.
    fn admit(&mut self, attempt: AttemptId, chunk: LogChunk) -> Option<LogEntry> {
        let stream = match chunk.stream {
            1 => LogStream::Stdout,
            2 => LogStream::Stderr,
            _ => LogStream::Platform,
        };
        let used = self.log_bytes.entry(attempt).or_default();
        let size = chunk.data.len() as u64;
        let (stream, data) = if used.bytes.saturating_add(size) <= STEP_LOG_LIMIT_BYTES {
            used.bytes += size;
            (stream, Bytes::from(chunk.data))
        } else {
            self.core.metrics.log_bytes_dropped.add(size);
            if std::mem::replace(&mut used.truncated, true) {
                return None;
            }
            used.bytes = STEP_LOG_LIMIT_BYTES;
            let note = format!(
                "[the step wrote more than {} MiB of log: the rest is dropped]\n",
                STEP_LOG_LIMIT_BYTES >> 20
            );
            (LogStream::Platform, Bytes::from(note))
        };
        Some(LogEntry { attempt, sequence: chunk.sequence, stream, time: Timestamp(chunk.time), data })
    }
}

impl Drop for Session {
    /// A session that is dropped without its end, with its stream's task, ends all the same.
    fn drop(&mut self) {
        if self.ended {
            return;
        }
        self.core.registry.remove(&self.link);
        self.link.close();
        let disconnect = ToCommitter::Disconnect(Arc::clone(&self.link));
        if let Err(mpsc::error::TrySendError::Full(disconnect)) = self.core.committer.try_send(disconnect)
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            let committer = self.core.committer.clone();
            runtime.spawn(async move { committer.send(disconnect).await });
        }
    }
}

fn stopping() -> SessionError {
    SessionError::Unavailable("the server is stopping".to_owned())
}

fn check_hello(hello: &Hello) -> Result<(), SessionError> {
    if hello.protocol != PROTOCOL {
        return Err(SessionError::Protocol(format!(
            "the worker speaks protocol {}, this server {PROTOCOL}: use the same version of both",
            hello.protocol
        )));
    }
    let lists = [&hello.modes, &hello.sandboxes, &hello.agents];
    let items =
        lists.iter().flat_map(|list| list.iter()).chain(hello.labels.keys()).chain(hello.labels.values());
    let offered =
        hello.offers.iter().flat_map(|offer| offer.modes.iter().chain(std::iter::once(&offer.name)));
    let items = items.chain(offered);
    let too_many = lists.iter().any(|list| list.len() > MAX_HELLO_ITEMS)
        || hello.labels.len() > MAX_HELLO_ITEMS
        || hello.offers.len() > MAX_HELLO_ITEMS
        || hello.offers.iter().any(|offer| offer.modes.len() > MAX_HELLO_ITEMS);
    if too_many
        || hello.version.len() > MAX_HELLO_BYTES
        || items.clone().any(|item| item.len() > MAX_HELLO_BYTES)
    {
        return Err(SessionError::Protocol(format!(
            "a hello with more than {MAX_HELLO_ITEMS} labels, modes, sandbox backends or agents, or with one longer \
             than {MAX_HELLO_BYTES} bytes"
        )));
    }
    Ok(())
}

fn held_attempts(held: &[protocol::worker_api::Attempt]) -> Result<Vec<AttemptId>, SessionError> {
    if held.len() > MAX_HELD {
        return Err(SessionError::Protocol(format!("more than {MAX_HELD} held leases")));
    }
    held.iter().map(|attempt| attempt_of(Some(attempt))).collect()
}

fn attempt_of(attempt: Option<&protocol::worker_api::Attempt>) -> Result<AttemptId, SessionError> {
    attempt
        .and_then(|attempt| AttemptId::try_from(attempt).ok())
        .ok_or_else(|| SessionError::Protocol("a message without a readable attempt".to_owned()))
}

fn read_outcome(outcome: &[u8]) -> Result<StepOutcome, StepError> {
    let failed = |detail: String| StepError {
        kind: error_type::RUNTIME.to_owned(),
        status: 500,
        title: "The worker's answer was refused".to_owned(),
        detail,
    };
    if outcome.len() > MAX_OUTCOME_BYTES {
        let size = outcome.len();
        return Err(failed(format!(
            "the step's output has {size} bytes, the limit is {MAX_OUTCOME_BYTES}: return less, or write a file and \
             list it in `artifacts`"
        )));
    }
    serde_json::from_slice(outcome).map_err(|error| failed(format!("the outcome is not readable: {error}")))
}

fn truncate(mut text: String, limit: usize) -> String {
    if text.len() > limit {
        let end = (0..=limit).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        text.truncate(end);
    }
    text
}
