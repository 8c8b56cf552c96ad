//! The index of logs: which chunks a step wrote, and where they are.

use bytes::Bytes;
use protocol::id::{AttemptId, RunId, StepId, Timestamp};

use crate::blob::BlobId;

/// Bytes of logs kept of one step, all attempts together; what comes after is dropped, and the reader is told.
pub const MAX_LOG_BYTES_PER_STEP: u64 = 64 * 1024 * 1024;

/// A piece of a step's output. A chunk that is appended again is stored once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogChunk {
    /// The attempt that wrote it.
    pub attempt: AttemptId,
    /// Number within the attempt, from 0.
    pub sequence: u64,
    /// 1 standard output, 2 standard error, 3 the platform's own notes.
    pub stream: u8,
    /// When it was written.
    pub at: Timestamp,
    /// The bytes, or where they are.
    pub body: LogBody,
}

/// The bytes of a chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogBody {
    /// Here.
    Inline(Bytes),
    /// In the blob store.
    Blob {
        /// Which.
        blob: BlobId,
        /// Bytes.
        size: u64,
    },
}

impl LogBody {
    /// Bytes of the chunk.
    pub fn size(&self) -> u64 {
        match self {
            LogBody::Inline(bytes) => bytes.len() as u64,
            LogBody::Blob { size, .. } => *size,
        }
    }
}

/// Which chunks of a run are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogFilter {
    /// The run.
    pub run: RunId,
    /// Only of this step.
    pub step: Option<StepId>,
}

/// Chunks are read in the order of step, attempt, sequence; a page starts after this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LogCursor {
    /// The step.
    pub step: StepId,
    /// The attempt.
    pub attempt: u32,
    /// The chunk.
    pub sequence: u64,
}
