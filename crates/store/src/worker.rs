//! Workers as they are enrolled and seen alive. A worker's leases hold as long as the worker does.

use bytes::Bytes;
use protocol::id::Timestamp;

use crate::token::TokenHash;

/// An enrolled worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Worker {
    /// Its name, unique.
    pub name: String,
    /// Hash of its credential.
    pub credential: TokenHash,
    /// What it said of itself when it last connected, encoded by the caller; shown to people.
    pub description: Bytes,
    /// When it was enrolled.
    pub enrolled_at: Timestamp,
    /// Until when its leases hold; the epoch before it was first seen.
    pub alive_until: Timestamp,
    /// Whether it is to take no more steps.
    pub draining: bool,
}
