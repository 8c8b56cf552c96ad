//! Logs of steps: told live to those who follow, and kept in the store in batches.

use bytes::Bytes;
use protocol::id::{AttemptId, Timestamp};

/// Bytes of log kept per attempt; what comes after is dropped and a note in the log says so.
pub const STEP_LOG_LIMIT_BYTES: u64 = 16 << 20;
/// Bytes of one chunk; larger ones from a worker are refused.
pub const LOG_CHUNK_LIMIT_BYTES: usize = 256 << 10;

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
