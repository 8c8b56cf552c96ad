//! Logs of steps: told live to those who follow, and kept in the store in batches.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::id::{AttemptId, RunId, StepId, Timestamp};
use store::{LogBody, LogChunk, LogCursor, LogFilter};
use tokio::sync::{mpsc, oneshot};

use crate::core::Core;
use crate::error::ControlError;
use crate::handle::LogEntries;
use crate::hub::{Following, Told};
use crate::watch::RunEvent;

/// Bytes of log kept per attempt; what comes after is dropped and a note in the log says so.
pub const STEP_LOG_LIMIT_BYTES: u64 = 16 << 20;
/// Bytes of one chunk; larger ones from a worker are refused.
pub const LOG_CHUNK_LIMIT_BYTES: usize = 256 << 10;

/// Chunks that wait to be stored; a worker that sends more waits.
pub(crate) const MAX_QUEUED_CHUNKS: usize = 1024;
/// Chunks told to a follower that does not keep up; it then reads them from the store.
pub(crate) const TAIL_BUFFER: usize = 1024;
/// Chunks stored at once.
const MAX_BATCH: usize = 512;
/// How long chunks gather before they are stored.
const GATHER: Duration = Duration::from_millis(50);
/// How often a batch is tried that the store does not take.
const STORE_ATTEMPTS: u32 = 5;
/// Chunks read from the store at once.
const PAGE: usize = 256;

/// Which output a chunk is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// The platform's own notes.
    Platform,
}

/// A piece of a step's log.
#[derive(Clone, Debug, PartialEq)]
pub struct LogEntry {
    /// The attempt that wrote it.
    pub attempt: AttemptId,
    /// Number within the attempt, from 0; with step and attempt it is the [`store::LogCursor`] to go on after.
    pub sequence: u64,
    /// Which output.
    pub stream: LogStream,
    /// When, by the worker's clock.
    pub time: Timestamp,
    /// The bytes, redacted in the sandbox; not always whole lines.
    pub data: Bytes,
}

/// What the log's writer is told.
pub(crate) enum ToLog {
    /// A chunk to store.
    Chunk(LogChunk),
    /// To be answered when all chunks before it are stored, or dropped with a note in the server's log.
    Flush(oneshot::Sender<()>),
}

/// Acts once all that was passed on before is stored: the log of a step is complete when its end is seen.
pub(crate) fn when_stored(core: &Arc<Core>, act: impl FnOnce(&Core) + Send + 'static) {
    let core = Arc::clone(core);
    tokio::spawn(async move {
        let (stored, told) = oneshot::channel();
        if core.log_writer.send(ToLog::Flush(stored)).await.is_ok() {
            // Without an answer the server is stopping.
            let _ = told.await;
        }
        act(&core);
    });
}

/// Passes a chunk on to followers and to the store; waits while the store is behind.
pub(crate) async fn pass_on(core: &Core, entry: LogEntry) {
    let chunk = LogChunk {
        attempt: entry.attempt,
        sequence: entry.sequence,
        stream: match entry.stream {
            LogStream::Stdout => 1,
            LogStream::Stderr => 2,
            LogStream::Platform => 3,
        },
        at: entry.time,
        body: LogBody::Inline(entry.data.clone()),
    };
    core.log_tails.tell(entry.attempt.run, entry);
    // The writer ends with the server only.
    let _ = core.log_writer.send(ToLog::Chunk(chunk)).await;
}

/// Stores chunks for ever, in batches.
pub(crate) async fn write(core: Arc<Core>, mut told: mpsc::Receiver<ToLog>) {
    while let Some(first) = told.recv().await {
        let mut batch = Batch::default();
        batch.take(first);
        let gather = async {
            while !batch.is_due()
                && let Some(next) = told.recv().await
            {
                batch.take(next);
            }
        };
        // What has come until then is stored.
        let _ = tokio::time::timeout(GATHER, gather).await;
        while batch.chunks.len() < MAX_BATCH
            && let Ok(next) = told.try_recv()
        {
            batch.take(next);
        }
        if !batch.chunks.is_empty() {
            store_batch(&core, batch.chunks).await;
        }
        for stored in batch.flushes {
            // Who waited may have gone.
            let _ = stored.send(());
        }
    }
}

/// What is stored at once, and who waits for it.
#[derive(Default)]
struct Batch {
    chunks: Vec<LogChunk>,
    flushes: Vec<oneshot::Sender<()>>,
}

impl Batch {
    fn take(&mut self, told: ToLog) {
        match told {
            ToLog::Chunk(chunk) => self.chunks.push(chunk),
            ToLog::Flush(stored) => self.flushes.push(stored),
        }
    }

    /// Whether nothing more is waited for.
    fn is_due(&self) -> bool {
        !self.flushes.is_empty() || self.chunks.len() >= MAX_BATCH
    }
}

async fn store_batch(core: &Core, batch: Vec<LogChunk>) {
    for attempt in 1..=STORE_ATTEMPTS {
        match core.store.append_logs(batch.clone()).await {
            Ok(_dropped) => return,
            Err(error) if attempt == STORE_ATTEMPTS => {
                let bytes = batch.iter().map(|chunk| chunk.body.size()).sum();
                core.metrics.log_bytes_dropped.add(bytes);
                tracing::warn!(%error, "failed to store {} log chunks: they are dropped", batch.len());
            }
            Err(_) => tokio::time::sleep(GATHER * 2u32.pow(attempt)).await,
        }
    }
}

/// The log of a run or of a step, as [`crate::Control::tail_logs`] gives it.
pub(crate) fn tail(core: Arc<Core>, filter: LogFilter, from: Option<LogCursor>, follow: bool) -> LogEntries {
    // Both are followed before the store is read, so that nothing falls between.
    let live = follow.then(|| core.log_tails.follow(filter.run));
    let ends = follow.then(|| core.watchers.follow(filter.run));
    let (seen, page) = (HashMap::new(), Vec::new());
    let tail = Tail { core, filter, start: from, from, live, ends, seen, page, phase: Phase::Stored };
    Box::pin(futures_util::stream::unfold(tail, |mut tail| async move {
        tail.next().await.map(|entry| (entry, tail))
    }))
}

struct Tail {
    core: Arc<Core>,
    filter: LogFilter,
    /// Where the caller wants it to begin.
    start: Option<LogCursor>,
    /// How far the store was read.
    from: Option<LogCursor>,
    live: Option<Following<LogEntry>>,
    ends: Option<Following<RunEvent>>,
    /// The next number of each attempt that was given.
    seen: HashMap<(StepId, u32), u64>,
    /// Entries that were read, the next one last.
    page: Vec<LogEntry>,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq)]
enum Phase {
    /// Reading the store.
    Stored,
    /// Following.
    Live,
    /// The run has ended: reading the store a last time.
    Last,
    Over,
}

impl Tail {
    async fn next(&mut self) -> Option<Result<LogEntry, ControlError>> {
        loop {
            while let Some(entry) = self.page.pop() {
                if self.is_new(&entry) {
                    return Some(Ok(entry));
                }
            }
            match self.phase {
                Phase::Stored | Phase::Last => match self.read_page().await {
                    Ok(true) => {}
                    Ok(false) => self.phase = self.after_stored().await,
                    Err(error) => {
                        self.phase = Phase::Over;
                        return Some(Err(error));
                    }
                },
                Phase::Live => self.follow().await,
                Phase::Over => return None,
            }
        }
    }

    async fn read_page(&mut self) -> Result<bool, ControlError> {
        let chunks = self.core.store.logs(self.filter, self.from, PAGE).await;
        let chunks = chunks.map_err(|error| ControlError::Unavailable(error.to_string()))?;
        let Some(last) = chunks.last() else { return Ok(false) };
        let LogChunk { attempt, sequence, .. } = last;
        self.from = Some(LogCursor { step: attempt.step, attempt: attempt.attempt, sequence: *sequence });
        self.page = chunks.into_iter().rev().filter_map(entry_of).collect();
        Ok(true)
    }

    async fn after_stored(&mut self) -> Phase {
        if self.phase == Phase::Last || self.live.is_none() {
            return Phase::Over;
        }
        match has_ended(&self.core, self.filter.run).await {
            true => self.read_again(),
            false => Phase::Live,
        }
    }

    /// Reads the store once more: it has all that was written before the end.
    fn read_again(&mut self) -> Phase {
        self.from = self.start;
        Phase::Last
    }

    async fn follow(&mut self) {
        let (Some(live), Some(ends)) = (&mut self.live, &mut self.ends) else {
            self.phase = Phase::Over;
            return;
        };
        tokio::select! {
            biased;
            told = live.next() => match told {
                Told::Item(entry) => {
                    if self.filter.step.is_none_or(|step| step == entry.attempt.step) {
                        self.page.push(entry);
                    }
                }
                Told::Missed => {
                    self.from = self.start;
                    self.phase = Phase::Stored;
                }
            },
            told = ends.next() => match told {
                Told::Item(RunEvent::Status { ended: true, .. }) => self.phase = self.read_again(),
                Told::Item(_) => {}
                Told::Missed => self.phase = Phase::Stored,
            },
        }
    }

    fn is_new(&mut self, entry: &LogEntry) -> bool {
        let next = self.seen.entry((entry.attempt.step, entry.attempt.attempt)).or_default();
        let new = entry.sequence >= *next;
        if new {
            *next = entry.sequence + 1;
        }
        new
    }
}

async fn has_ended(core: &Core, run: RunId) -> bool {
    matches!(core.store.run_summary(run).await, Ok(Some(summary)) if summary.status.is_final())
}

fn entry_of(chunk: LogChunk) -> Option<LogEntry> {
    let LogBody::Inline(data) = chunk.body else { return None };
    let stream = match chunk.stream {
        1 => LogStream::Stdout,
        2 => LogStream::Stderr,
        _ => LogStream::Platform,
    };
    Some(LogEntry { attempt: chunk.attempt, sequence: chunk.sequence, stream, time: chunk.at, data })
}
