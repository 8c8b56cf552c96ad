//! Where a run stands.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Status phase of a run: the DSL's, and `cancelling`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not started.
    Pending,
    /// In progress.
    Running,
    /// Only timers are awaited: a `wait` task, or the delay before a retry.
    Waiting,
    /// Nothing new starts until it is resumed.
    Suspended,
    /// Told to end; steps or child runs are still stopping.
    Cancelling,
    /// Ran to its end.
    Completed,
    /// Ended with an error; may be retried.
    Faulted,
    /// Ended because someone asked for it.
    Cancelled,
}

impl Status {
    /// Whether the run has ended.
    pub fn is_final(self) -> bool {
        matches!(self, Status::Completed | Status::Faulted | Status::Cancelled)
    }

    /// Its name, as the API shows it.
    pub fn name(self) -> &'static str {
        match self {
            Status::Pending => "pending",
            Status::Running => "running",
            Status::Waiting => "waiting",
            Status::Suspended => "suspended",
            Status::Cancelling => "cancelling",
            Status::Completed => "completed",
            Status::Faulted => "faulted",
            Status::Cancelled => "cancelled",
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
