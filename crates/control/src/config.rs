//! What the control plane is started with.

use std::time::Duration;

use crate::clock::Clock;

/// Settings of [`crate::start`]. Everything has a default but the store and, for identities, the signing key.
#[derive(Clone)]
pub struct ControlConfig {
    /// Name of this server in grants and in what workers are told.
    pub server: String,
    /// PKCS#8 or seed bytes of the Ed25519 key that signs grants; `None` refuses steps with an identity.
    pub grant_key: Option<GrantKey>,
    /// How long a silent worker keeps its leases.
    pub lease: Duration,
    /// How often a worker sends a heartbeat.
    pub heartbeat: Duration,
    /// Threads that run the planner.
    pub planner_threads: usize,
    /// Live runs kept in memory; others are loaded again when an event arrives.
    pub cached_runs: usize,
    /// Ready steps kept in memory; the rest waits in the store.
    pub ready_window: usize,
    /// Events of a run between two snapshots.
    pub snapshot_events: u32,
    /// Where time comes from.
    pub clock: Clock,
}

/// The key that signs grants, with its name in the grants' header. It is never printed.
#[derive(Clone)]
pub struct GrantKey {
    /// `kid` of the grants.
    pub key_id: String,
    /// The 32 bytes of the Ed25519 private key.
    pub seed: [u8; 32],
}

impl Default for ControlConfig {
    fn default() -> Self {
        ControlConfig {
            server: "sagewai".to_owned(),
            grant_key: None,
            lease: Duration::from_secs(15),
            heartbeat: Duration::from_secs(5),
            planner_threads: 8,
            cached_runs: 10_000,
            ready_window: 10_000,
            snapshot_events: 64,
            clock: Clock::System,
        }
    }
}
