//! What happens to a run, told to those who watch it: the source of the API's server-sent events.

use protocol::id::{StepId, Timestamp};
use protocol::step::Mode;
use serde::Serialize;

/// Events kept for a watcher that does not keep up; it then gets [`RunEvent::Resync`].
pub const WATCH_BUFFER: usize = 256;

/// Something that happened to a run. It is told after it was committed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum RunEvent {
    /// The run's status changed. A status that ends the run is the last event.
    Status {
        /// When.
        time: Timestamp,
        /// The new status, as the store names it.
        status: String,
        /// Whether the run has ended.
        ended: bool,
    },
    /// A step changed its state.
    Step {
        /// When.
        time: Timestamp,
        /// The step.
        step: StepId,
        /// JSON pointer of its task.
        task: String,
        /// Its mode.
        mode: Mode,
        /// Its attempt, from 1; 0 before the first lease.
        attempt: u32,
        /// The new state.
        state: StepState,
        /// The worker that holds it, where one does.
        #[serde(skip_serializing_if = "Option::is_none")]
        worker: Option<String>,
        /// What people should know, such as why no worker takes it, or how it failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    },
    /// One line for people, from a step or from the platform.
    Note {
        /// When.
        time: Timestamp,
        /// The step it is about.
        #[serde(skip_serializing_if = "Option::is_none")]
        step: Option<StepId>,
        /// The line.
        text: String,
    },
    /// Events were dropped because the watcher did not keep up: read the run's state again.
    Resync,
}

/// The state of a step as watchers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    /// It waits for a worker.
    Ready,
    /// A worker holds it.
    Leased,
    /// Its work has begun.
    Running,
    /// It gave its output.
    Completed,
    /// It failed.
    Failed,
    /// It was cancelled.
    Cancelled,
    /// Its worker was lost; it will be handed out again.
    Lost,
}
