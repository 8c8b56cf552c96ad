//! Workers.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;

/// A worker as the server knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Worker {
    /// Its name, as enrolled.
    pub name: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// Whether it takes no more steps.
    pub draining: bool,
    /// Version of its program; empty until it connected once.
    pub version: String,
    /// Labels that steps may require.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Names of modes it takes.
    #[serde(default)]
    pub modes: Vec<String>,
    /// Sandbox backends, best first.
    #[serde(default)]
    pub sandboxes: Vec<String>,
    /// CLI agents with a manifest.
    #[serde(default)]
    pub agents: Vec<String>,
    /// Whether `run` is allowed in mode 0.
    pub bare_run: bool,
    /// Steps it runs at once.
    pub slots: u32,
    /// Steps it holds.
    pub running: u32,
    /// When it was last heard of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_seen: Option<Time>,
}

impl From<crate::WorkerInfo> for Worker {
    fn from(worker: crate::WorkerInfo) -> Self {
        Worker {
            name: worker.name,
            connected: worker.connected,
            draining: worker.draining,
            version: worker.version,
            labels: worker.labels,
            modes: worker.modes,
            sandboxes: worker.sandboxes,
            agents: worker.agents,
            bare_run: worker.bare_run,
            slots: worker.slots,
            running: worker.running,
            last_seen: worker.last_seen.map(Time::from),
        }
    }
}
