//! The steps this worker runs now, each with the token that stops it.

use std::collections::HashMap;
use std::sync::Mutex;

use protocol::id::AttemptId;
use tokio_util::sync::CancellationToken;

/// Why a step is told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The server asked; it wants a report.
    Cancelled,
    /// The lease is no longer this worker's: nobody wants a report.
    LeaseLost,
}

/// The running steps. Bounded by the worker's slots.
#[derive(Default)]
pub(crate) struct Running {
    steps: Mutex<HashMap<AttemptId, Handle>>,
}

struct Handle {
    token: CancellationToken,
    stop: Option<Stop>,
}

impl Running {
    /// Notes a step; `None` if it runs already (an assignment that was repeated).
    pub(crate) fn begin(&self, attempt: AttemptId) -> Option<CancellationToken> {
        let mut steps = self.locked();
        if steps.contains_key(&attempt) {
            return None;
        }
        let token = CancellationToken::new();
        steps.insert(attempt, Handle { token: token.clone(), stop: None });
        Some(token)
    }

    /// Tells a step to stop. A lost lease outweighs a cancel.
    pub(crate) fn stop(&self, attempt: AttemptId, why: Stop) {
        if let Some(handle) = self.locked().get_mut(&attempt) {
            if handle.stop != Some(Stop::LeaseLost) {
                handle.stop = Some(why);
            }
            handle.token.cancel();
        }
    }

    /// Tells every step to stop.
    pub(crate) fn stop_all(&self, why: Stop) {
        let attempts = self.held();
        for attempt in attempts {
            self.stop(attempt, why);
        }
    }

    /// Whether, and why, a step was told to stop.
    pub(crate) fn told(&self, attempt: AttemptId) -> Option<Stop> {
        self.locked().get(&attempt).and_then(|handle| handle.stop)
    }

    /// Removes a step that has ended.
    pub(crate) fn end(&self, attempt: AttemptId) {
        self.locked().remove(&attempt);
    }

    /// The attempts that run.
    pub(crate) fn held(&self) -> Vec<AttemptId> {
        self.locked().keys().copied().collect()
    }

    /// How many run.
    pub(crate) fn len(&self) -> usize {
        self.locked().len()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, HashMap<AttemptId, Handle>> {
        self.steps.lock().expect("no holder of the running steps panics")
    }
}
