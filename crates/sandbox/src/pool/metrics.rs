//! Counters of a pool.

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
