//! What can go wrong: with the whole store ([`StoreError`]), or with one turn only ([`Refusal`]).

use protocol::id::{RunId, StepId};

/// A failure of the store itself. Nothing of the call was stored, and nothing acknowledged before is lost.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No space is left. The store goes on by itself once there is space again.
    #[error("the data folder's disk is full: free some space, the server then goes on by itself")]
    Full,
    /// Another process has the database open.
    #[error(
        "{path} is in use by another process: stop that server, or give this one a data folder of its own"
    )]
    Locked {
        /// The lock file.
        path: String,
    },
    /// The database was written by a newer version of this program.
    #[error(
        "the database has schema version {found}, this program knows up to {known}: use the newer program that wrote it"
    )]
    NewerSchema {
        /// Version in the database.
        found: u32,
        /// Newest version this program knows.
        known: u32,
    },
    /// The database is damaged.
    #[error("the database is damaged ({detail}): restore the data folder from a backup")]
    Corrupt {
        /// What was found.
        detail: String,
    },
    /// More work is queued than the store takes; try again.
    #[error("the store is overloaded: try again")]
    Busy,
    /// The caller broke a rule of the interface, such as a limit on sizes.
    #[error("{0}")]
    Invalid(String),
    /// The name is taken by something else.
    #[error("{what} already exists")]
    Exists {
        /// What exists.
        what: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
    /// Reading or writing failed.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: String,
        /// Why it failed.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Why one turn was not taken. Nothing of the turn was stored; the other turns of the batch are not affected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No run has this id.
    #[error("no run {0}")]
    UnknownRun(RunId),
    /// A run with this id exists already.
    #[error("run {0} exists already")]
    RunExists(RunId),
    /// Somebody else has advanced the run: load it again.
    #[error("run is at version {actual}, not {expected}")]
    Conflict {
        /// Version the caller counted on.
        expected: u64,
        /// Version of the run.
        actual: u64,
    },
    /// A step is not in the state, or at the attempt, that the change starts from: the report is late or repeated.
    #[error("step {step} attempt {attempt} is stale: {found}")]
    Stale {
        /// The step.
        step: StepId,
        /// The attempt that the change names.
        attempt: u32,
        /// State and attempt that the step has.
        found: String,
    },
    /// The idempotency key was used before with another request.
    #[error("this idempotency key was used for another request, which made run {run}")]
    KeyReused {
        /// The run made then.
        run: RunId,
    },
}

/// An input or output error, said as what was tried; a full disk is told apart.
pub(crate) fn io(action: impl Into<String>, error: std::io::Error) -> StoreError {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => StoreError::Full,
        _ => StoreError::Io { action: action.into(), source: Box::new(error) },
    }
}
