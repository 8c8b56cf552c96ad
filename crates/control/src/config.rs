//! What the control plane is started with.

use std::time::Duration;

use crate::clock::Clock;
use crate::retention::KeepRuns;

/// Settings of [`crate::start`]. Everything has a default but the store and, for identities, the signing key.
#[derive(Clone)]
pub struct ControlConfig {
    /// Name of this server in grants and in what workers are told.
    pub server: String,
    /// The key that signs grants; `None` fails steps with an identity.
    pub grant_key: Option<GrantKey>,
    /// How long a silent worker keeps its leases.
    pub lease: Duration,
    /// How often a worker sends a heartbeat.
    pub heartbeat: Duration,
    /// Threads that run the planner; 0 runs it on the runtime, for tests.
    pub planner_threads: usize,
    /// Live runs kept in memory; others are loaded again when an event arrives.
    pub cached_runs: usize,
    /// Ready steps kept in memory; the rest waits in the store.
    pub ready_window: usize,
    /// Events of a run between two snapshots.
    pub snapshot_events: u32,
    /// Which ended runs are kept.
    pub keep_runs: KeepRuns,
    /// Where time comes from.
    pub clock: Clock,
    /// Makes the ids of runs repeatable, for tests.
    pub seed: Option<u64>,
}

/// The seed of the Ed25519 key that signs grants (RFC 8032). It is never printed, and wiped when it is dropped. The grants'
/// `kid` is the key's id, as [`seal::PublicKey::id`] gives it.
#[derive(Clone, zeroize::ZeroizeOnDrop)]
pub struct GrantKey {
    seed: [u8; 32],
}

impl GrantKey {
    /// A key of its 32 bytes.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        GrantKey { seed }
    }

    pub(crate) fn seed(&self) -> &[u8; 32] {
        &self.seed
    }
}

/// Planners beside one for each processor: some may be held up by long expressions.
const SPARE_PLANNERS: usize = 2;

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig {
            server: "sagewai".to_owned(),
            grant_key: None,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(5),
            planner_threads: std::thread::available_parallelism().map_or(2, usize::from) + SPARE_PLANNERS,
            cached_runs: 10_000,
            ready_window: 10_000,
            snapshot_events: 64,
            keep_runs: KeepRuns::default(),
            clock: Clock::System,
            seed: None,
        }
    }
}
