//! A pool of warm sandboxes over one sandbox backend.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::Counters;
use super::refill::{discard, refill};
use super::shelf::{Plan, Shelves};
use super::{PoolConfig, PoolMetrics};
use crate::{Backend, SandboxError, Session, Template};

/// Sandboxes made ahead at once, at most, where making one is mostly waiting.
const MAX_FILLING: usize = 8;
/// A sandbox that is made in less is made by this machine's processors: then half of them at most make sandboxes ahead.
const BUSY_CREATE: Duration = Duration::from_millis(50);

/// Hands out sandboxes, warm ones where there are any. Each is handed out once.
pub struct Pool {
    shared: Arc<Shared>,
    closing: CancellationToken,
}

/// What the pool, its refilling task and the keepers of waiting sandboxes share.
pub(super) struct Shared {
    pub(super) backend: Arc<dyn Backend>,
    pub(super) config: PoolConfig,
    pub(super) plan: Plan,
    pub(super) counters: Counters,
    /// Told when something may have to be made.
    pub(super) changed: Notify,
    pub(super) tasks: TaskTracker,
    shelves: Mutex<Shelves>,
}

impl Shared {
    /// The lists. They are consistent between any two statements that could panic.
    pub(super) fn shelves(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new sandbox whose guest has said hello.
    pub(super) async fn make(&self, template: &Template) -> Result<Session, SandboxError> {
        let limit = self.config.create_limit;
        let sandbox = tokio::time::timeout(limit, self.backend.create(template))
            .await
            .map_err(|_| SandboxError::Create(format!("no sandbox after {limit:?}")))??;
        Session::open_within(sandbox, &self.config.required, limit).await
    }
}

fn plan(idle_bytes: u64, create: Duration) -> Plan {
    let paced = create < BUSY_CREATE;
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Plan { idle_bytes, create, at_once: if paced { (processors / 2).max(1) } else { MAX_FILLING }, paced }
}

impl Pool {
    /// A pool that keeps itself filled; starts tasks, so it needs a tokio runtime.
    pub fn new(backend: Arc<dyn Backend>, config: PoolConfig) -> Arc<Self> {
        let able = backend.capabilities();
        let create = Duration::from_millis(able.create_ms.into());
        let shared = Arc::new(Shared {
            plan: plan(able.idle_bytes, create),
            backend,
            config,
            counters: Counters::default(),
            changed: Notify::new(),
            tasks: TaskTracker::new(),
            shelves: Mutex::default(),
        });
        let closing = CancellationToken::new();
        shared.tasks.spawn(refill(Arc::clone(&shared), closing.clone()));
        Arc::new(Self { shared, closing })
    }

    /// The sandbox backend.
    pub fn backend(&self) -> &dyn Backend {
        &*self.shared.backend
    }

    /// Makes the pool keep sandboxes of a template before it is first claimed, and for as long as the pool lives.
    pub fn prepare(&self, template: &Template) {
        self.shared.shelves().know(template, true, Instant::now());
        self.shared.changed.notify_one();
    }

    /// A sandbox of this template that nobody had before: a waiting one, else a new one.
    pub async fn claim(&self, template: &Template) -> Result<Session, SandboxError> {
        self.shared.shelves().arrived(template, Instant::now());
        if self.closing.is_cancelled() {
            return Err(SandboxError::ShutDown);
        }
        if let Some(session) = self.claim_warm(template).await {
            self.shared.counters.warm_claims.add_one();
            return Ok(session);
        }
        self.shared.changed.notify_one();
        let made = self.shared.make(template).await;
        let counters = &self.shared.counters;
        if made.is_ok() {
            counters.cold_claims.add_one()
        } else {
            counters.failed_claims.add_one()
        }
        made
    }

    async fn claim_warm(&self, template: &Template) -> Option<Session> {
        loop {
            let take = self.shared.shelves().take(template)?;
            self.shared.changed.notify_one();
            let (hand_over, session) = oneshot::channel();
            // A keeper that is gone, or whose sandbox has just died, drops its end: try the next.
            if take.send(hand_over).is_ok()
                && let Ok(mut session) = session.await
            {
                session.mark_warm();
                return Some(session);
            }
        }
    }

    /// Ends a sandbox whose step is over: returns when every process of it is dead. What else there is of it is removed by a
    /// task of the pool, for which a shutdown waits, so that the step's end can be told before.
    pub async fn retire(&self, mut session: Session) -> Result<(), SandboxError> {
        if !session.kill().await? {
            return session.discard().await;
        }
        self.shared.tasks.spawn(discard(session));
        Ok(())
    }

    /// Counters.
    pub fn metrics(&self) -> PoolMetrics {
        let (idle, filling) = self.shared.shelves().count();
        self.shared.counters.snapshot(idle, filling)
    }

    /// Hands out nothing more, discards all that wait, and returns when they are gone.
    pub async fn shutdown(&self) {
        self.closing.cancel();
        self.shared.shelves().shut();
        self.shared.tasks.close();
        self.shared.tasks.wait().await;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.closing.cancel();
        self.shared.shelves().shut();
    }
}
