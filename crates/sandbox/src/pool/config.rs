//! What the operator decides about a pool.

use std::time::Duration;

use protocol::frame::Layer;

/// How a pool fills itself.
#[derive(Clone, Debug)]
pub struct PoolConfig {
    /// Sandboxes of each known template that wait at least, memory permitting.
    pub min_warm: usize,
    /// Sandboxes of one template that wait at most.
    pub max_warm: usize,
    /// Memory of all waiting sandboxes together, bytes, at most.
    pub max_idle_bytes: u64,
    /// How long a sandbox may wait before it is replaced; also after how long a template without claims is forgotten.
    pub max_age: Duration,
    /// The longest a sandbox may take from request to the guest's first frame.
    pub create_limit: Duration,
    /// Layers without which no step is started.
    pub required: Vec<Layer>,
}

impl Default for PoolConfig {
    fn default() -> Self {
        Self {
            min_warm: 1,
            max_warm: 32,
            max_idle_bytes: 256 << 20,
            max_age: Duration::from_secs(600),
            create_limit: Duration::from_secs(60),
            required: Vec::new(),
        }
    }
}
