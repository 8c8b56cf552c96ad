//! What the parts of the control plane share.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::Timestamp;
use store::Store;
use tokio::sync::{Semaphore, mpsc};

use crate::clock::Clock;
use crate::dispatch::leases::Leases;
use crate::driver::committer::ToCommitter;
use crate::driver::ends::Ends;
use crate::driver::input::RunIds;
use crate::driver::planning::Planning;
use crate::driver::schedule::Schedule;
use crate::driver::timers::Bell;
use crate::hub::Hub;
use crate::logs::{LogEntry, ToLog};
use crate::metrics::Metrics;
use crate::watch::RunEvent;
use crate::workers::grants::Grants;
use crate::workers::registry::Registry;

/// How long a failed commit makes the server unready when no other one has succeeded: a server that is asked for nothing
/// would otherwise never learn that its store is well again.
const UNREADY_FOR: Duration = Duration::from_secs(5);

/// The shared parts. Everything in it may be used from any thread.
pub(crate) struct Core {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: Clock,
    pub(crate) ids: RunIds,
    pub(crate) planning: Planning,
    pub(crate) schedule: Schedule,
    pub(crate) leases: Leases,
    pub(crate) registry: Registry,
    pub(crate) bell: Bell,
    pub(crate) ends: Arc<Ends>,
    pub(crate) watchers: Arc<Hub<RunEvent>>,
    pub(crate) log_tails: Arc<Hub<LogEntry>>,
    pub(crate) log_writer: mpsc::Sender<ToLog>,
    pub(crate) committer: mpsc::Sender<ToCommitter>,
    pub(crate) beats: mpsc::Sender<crate::workers::liveness::Beat>,
    pub(crate) grants: Option<Grants>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) health: Health,
    pub(crate) admissions: Semaphore,
    pub(crate) lease: Duration,
    pub(crate) heartbeat: Duration,
    pub(crate) server: String,
}

impl Core {
    /// Until when a worker that is heard of now keeps its leases.
    pub(crate) fn lease_end(&self) -> Timestamp {
        self.clock.now().plus(i64::try_from(self.lease.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Whether the store takes commits.
#[derive(Debug, Default)]
pub(crate) struct Health(Mutex<Option<(String, Instant)>>);

impl Health {
    fn state(&self) -> std::sync::MutexGuard<'_, Option<(String, Instant)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A commit succeeded. Answers whether the one before had failed.
    pub(crate) fn well(&self) -> bool {
        self.state().take().is_some()
    }

    /// A commit failed.
    pub(crate) fn ill(&self, reason: String) {
        *self.state() = Some((reason, Instant::now()));
    }

    /// Why commits fail, if they do.
    pub(crate) fn reason(&self) -> Option<String> {
        let state = self.state();
        state.as_ref().filter(|(_, at)| at.elapsed() < UNREADY_FOR).map(|(reason, _)| reason.clone())
    }
}
