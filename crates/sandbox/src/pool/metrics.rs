//! Counters of a pool.

use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot of a pool's counters since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PoolMetrics {
    /// Sandboxes that wait now.
    pub idle: u64,
    /// Sandboxes being made ahead now.
    pub filling: u64,
    /// Claims served by a waiting sandbox.
    pub warm_claims: u64,
    /// Claims for which a sandbox was made on the spot.
    pub cold_claims: u64,
    /// Claims that failed.
    pub failed_claims: u64,
    /// Waiting sandboxes that died and were replaced.
    pub died: u64,
    /// Waiting sandboxes that grew too old.
    pub expired: u64,
    /// Sandboxes that could not be made ahead.
    pub failed_fills: u64,
}

/// The counters that only grow.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) warm_claims: Counter,
    pub(super) cold_claims: Counter,
    pub(super) failed_claims: Counter,
    pub(super) died: Counter,
    pub(super) expired: Counter,
    pub(super) failed_fills: Counter,
}

#[derive(Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add_one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Counters {
    pub(super) fn snapshot(&self, idle: usize, filling: usize) -> PoolMetrics {
        PoolMetrics {
            idle: idle as u64,
            filling: filling as u64,
            warm_claims: self.warm_claims.read(),
            cold_claims: self.cold_claims.read(),
            failed_claims: self.failed_claims.read(),
            died: self.died.read(),
            expired: self.expired.read(),
            failed_fills: self.failed_fills.read(),
        }
    }
}
