//! Which workers live: heartbeats renew leases in batches, and the leases of silent workers expire.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::link::{Outgoing, WorkerLink};
use crate::core::Core;
use crate::driver::committer::ToCommitter;

/// Heartbeats that wait to be stored.
pub(crate) const MAX_BEATS: usize = 4096;
/// Expired leases are looked for so many times within a lease.
const LOOKS_PER_LEASE: u32 = 8;

/// A heartbeat of a worker.
#[derive(Debug)]
pub(crate) struct Beat {
    /// Whose.
    pub(crate) link: Arc<WorkerLink>,
    /// The worker's number for it.
    pub(crate) beat: u64,
}

/// Stores heartbeats for ever, all that have come at once, and answers them when that is durable.
pub(crate) async fn renew(core: Arc<Core>, mut beats: mpsc::Receiver<Beat>) {
    let mut batch = Vec::new();
    while beats.recv_many(&mut batch, MAX_BEATS).await > 0 {
        let until = core.lease_end();
        let alive: Vec<_> = batch.iter().map(|beat| (beat.link.name.as_ref().to_owned(), until)).collect();
        match core.store.touch_workers(alive.clone()).await {
            Ok(()) => {
                core.registry.renew(&alive);
                core.health.well();
                for Beat { link, beat } in batch.drain(..) {
                    link.send(Outgoing::Heartbeat { beat });
                }
            }
            Err(error) => {
                tracing::warn!(%error, "failed to renew the leases of {} workers", batch.len());
                batch.clear();
            }
        }
    }
}

/// Looks for silent workers for ever; the committer takes their leases.
pub(crate) async fn expire(core: Arc<Core>) {
    let pause = (core.lease / LOOKS_PER_LEASE).max(Duration::from_millis(50));
    let pause_milliseconds = i64::try_from(pause.as_millis()).unwrap_or(i64::MAX);
    loop {
        let now = core.clock.now();
        match core.store.expired_workers(now).await {
            Ok(workers) => {
                for worker in workers {
                    if !core.registry.is_alive(&worker, now) {
                        let expired = ToCommitter::Expired(worker.into());
                        if core.committer.send(expired).await.is_err() {
                            return;
                        }
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "failed to look for expired leases"),
        }
        core.clock.sleep_until(now.plus(pause_milliseconds)).await;
    }
}
