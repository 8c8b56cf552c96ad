//! Log chunks of running steps on their way to the server. Logs are best effort: a slow or absent server never stalls
//! a step; what does not fit is dropped, and the log says so.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::frame::Stream;
use protocol::id::AttemptId;
use protocol::worker_api::LogChunk;
use tokio::sync::Notify;

/// Bytes of log that wait for the server, over all steps of the worker.
pub(crate) const MAX_QUEUED_BYTES: usize = 8 * 1024 * 1024;
/// Bytes of log that one attempt may write; the rest is dropped with a note.
pub(crate) const MAX_BYTES_PER_ATTEMPT: u64 = 16 * 1024 * 1024;
/// A chunk grows up to this size while it waits.
const CHUNK_BYTES: usize = 32 * 1024;

/// `LogChunk.stream`: the platform's own notes, beside 1 stdout and 2 stderr.
const NOTE: u32 = 3;

/// The queue of the whole worker.
#[derive(Default)]
pub(crate) struct LogQueue {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    chunks: VecDeque<LogChunk>,
    bytes: usize,
    dropped_bytes: u64,
}

impl LogQueue {
    /// Waits until there are chunks, then takes up to about `limit` bytes of them.
    pub(crate) async fn take(&self, limit: usize) -> Vec<LogChunk> {
        loop {
            let woken = self.wake.notified();
            let batch = self.take_now(limit);
            if !batch.is_empty() {
                return batch;
            }
            woken.await;
        }
    }

    /// Takes up to about `limit` bytes of chunks, if there are any.
    pub(crate) fn take_now(&self, limit: usize) -> Vec<LogChunk> {
        let mut state = self.state.lock().expect("no holder of the log queue panics");
        let mut batch = Vec::new();
        let mut bytes = 0;
        while bytes < limit {
            let Some(chunk) = state.chunks.pop_front() else { break };
            bytes += chunk.data.len();
            state.bytes -= chunk.data.len();
            batch.push(chunk);
        }
        if !state.chunks.is_empty() {
            self.wake.notify_one();
        }
        batch
    }

    fn push(&self, chunk: LogChunk) {
        let mut state = self.state.lock().expect("no holder of the log queue panics");
        if state.bytes + chunk.data.len() > MAX_QUEUED_BYTES {
            state.dropped_bytes += chunk.data.len() as u64;
            return;
        }
        state.bytes += chunk.data.len();
        match state.chunks.back_mut() {
            Some(last)
                if last.attempt == chunk.attempt
                    && last.stream == chunk.stream
                    && last.data.len() + chunk.data.len() <= CHUNK_BYTES =>
            {
                last.data.extend_from_slice(&chunk.data);
            }
            _ => state.chunks.push_back(chunk),
        }
        drop(state);
        self.wake.notify_one();
    }
}

/// The log of one attempt.
pub(crate) struct StepLog {
    queue: Arc<LogQueue>,
    attempt: AttemptId,
    sequence: AtomicU64,
    bytes: AtomicU64,
}

impl StepLog {
    pub(crate) fn new(queue: Arc<LogQueue>, attempt: AttemptId) -> Self {
        StepLog { queue, attempt, sequence: AtomicU64::new(0), bytes: AtomicU64::new(0) }
    }

    /// Output of the step.
    pub(crate) fn output(&self, stream: Stream, data: &[u8]) {
        let before = self.bytes.fetch_add(data.len() as u64, Ordering::Relaxed);
        if before > MAX_BYTES_PER_ATTEMPT {
            return;
        }
        let number = match stream {
            Stream::Stdout => 1,
            Stream::Stderr => 2,
        };
        self.push(number, data);
        if before + data.len() as u64 > MAX_BYTES_PER_ATTEMPT {
            self.note(&format!(
                "the log of this step passed {} MiB; the rest is not kept",
                MAX_BYTES_PER_ATTEMPT / 1024 / 1024
            ));
        }
    }

    /// A line of the platform for the user.
    pub(crate) fn note(&self, line: &str) {
        self.push(NOTE, format!("{line}\n").as_bytes());
    }

    fn push(&self, stream: u32, data: &[u8]) {
        self.queue.push(LogChunk {
            attempt: Some(self.attempt.into()),
            stream,
            sequence: self.sequence.fetch_add(1, Ordering::Relaxed),
            time: now_ms(),
            data: data.to_vec(),
        });
    }
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::id::{RunId, StepId};

    fn log() -> (Arc<LogQueue>, StepLog) {
        let queue = Arc::new(LogQueue::default());
        let attempt = AttemptId { run: RunId(Default::default()), step: StepId(1), attempt: 1 };
        (queue.clone(), StepLog::new(queue, attempt))
    }

    #[tokio::test]
    async fn small_writes_travel_as_one_chunk() {
        let (queue, log) = log();
        log.output(Stream::Stdout, b"a");
        log.output(Stream::Stdout, b"b");
        log.output(Stream::Stderr, b"c");
        let chunks = queue.take(1024).await;
        assert_eq!(
            chunks.iter().map(|c| (c.stream, c.data.as_slice())).collect::<Vec<_>>(),
            [(1, b"ab".as_slice()), (2, b"c".as_slice())]
        );
    }

    #[tokio::test]
    async fn a_flood_is_cut_with_a_note_and_bounded_memory() {
        let (queue, log) = log();
        let block = vec![b'x'; 1024 * 1024];
        let mut kept = 0;
        for _ in 0..64 {
            log.output(Stream::Stdout, &block);
            kept += queue.take_now(usize::MAX).iter().map(|c| c.data.len()).sum::<usize>();
        }
        assert!(kept as u64 <= MAX_BYTES_PER_ATTEMPT + 2 * block.len() as u64, "kept {kept}");
        let (queue, log) = self::log();
        for _ in 0..12 {
            log.output(Stream::Stdout, &block);
        }
        let waiting: usize = queue.take_now(usize::MAX).iter().map(|c| c.data.len()).sum();
        assert!(waiting <= MAX_QUEUED_BYTES, "a server that does not read holds back {waiting} bytes");
    }
}
