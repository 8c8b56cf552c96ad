//! The audit trail: append-only JSON lines in canonical form (RFC 8785), each holding the hash of the line before it, with
//! checkpoints signed by the broker. It holds names of keys and never a value, nor a hash of one.
//!
//! - [`record`]: what is recorded.
//! - [`mod@log`]: appending, a batch with one sync.
//! - [`mod@verify`]: finding what was edited, removed, reordered or cut off.
//! - [`mod@outstanding`]: what a trail says is still open.
//! - [`canonical`]: the canonical form.

pub mod canonical;
pub mod log;
pub mod outstanding;
pub mod record;
pub mod verify;

pub use log::AuditLog;
pub use record::{Checkpoint, Event, Line};
pub use verify::{AuditFault, AuditReport, verify};
