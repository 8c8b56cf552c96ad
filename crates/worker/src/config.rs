//! What an operator decides about a worker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::agent::AgentManifest;

/// Steps one worker runs at once, if the operator says nothing.
pub const DEFAULT_SLOTS: u32 = 64;
/// Time a step may take, if neither its document nor the operator says anything.
pub const DEFAULT_STEP_TIMEOUT: Duration = Duration::from_secs(3600);

/// Everything a worker needs; the binary fills it from flags and the configuration file.
pub struct WorkerConfig {
    /// Base URL of the server, such as `http://127.0.0.1:7420`.
    pub server: String,
    /// The worker's name, as enrolled at the server and at the broker.
    pub name: String,
    /// Bearer credential that the server gave at enrolment.
    pub credential: String,
    /// Labels that steps may require.
    pub labels: BTreeMap<String, String>,
    /// How much it takes at once.
    pub capacity: Capacity,
    /// Whether `run` tasks are allowed in mode 0, with all that the worker's user may do.
    pub bare_run: bool,
    /// How to reach the broker; absent means that the worker takes no step with an identity.
    pub broker: Option<BrokerAccess>,
    /// CLI agents whose manifests the operator installed.
    pub agents: Vec<AgentManifest>,
    /// Private destinations that the operator allows, for mode 0 and for tunnels.
    pub egress: sandbox::egress::OperatorPolicy,
    /// Folder for files in passing, such as artifacts on their way to the server.
    pub scratch: PathBuf,
}

/// How much a worker takes at once.
#[derive(Clone, Copy, Debug)]
pub struct Capacity {
    /// Steps at once.
    pub slots: u32,
    /// The longest a step may take.
    pub step_timeout: Duration,
}

impl Default for Capacity {
    fn default() -> Self {
        Capacity { slots: DEFAULT_SLOTS, step_timeout: DEFAULT_STEP_TIMEOUT }
    }
}

/// The identity broker as a worker sees it.
pub struct BrokerAccess {
    /// Base URL, such as `http://127.0.0.1:7421`.
    pub url: String,
    /// The broker's Ed25519 public key; the guest opens nothing that another has signed.
    pub public_key: [u8; 32],
    /// Signs the worker's requests; its public half is enrolled at the broker.
    pub signer: Arc<seal::SigningKey>,
}
