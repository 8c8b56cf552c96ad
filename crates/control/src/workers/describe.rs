//! What a worker says of itself, as the store keeps it and as people see it.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::Timestamp;
use protocol::worker_api::Hello;
use serde::{Deserialize, Serialize};

use super::link::WorkerLink;

/// A worker as the control plane knows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct WorkerInfo {
    /// Its name, as enrolled.
    pub name: String,
    /// Whether its stream is open.
    pub connected: bool,
    /// Whether it takes no more steps.
    pub draining: bool,
    /// Version of its program; empty until it connected once.
    pub version: String,
    /// Labels that steps may require.
    pub labels: BTreeMap<String, String>,
    /// Names of modes it takes.
    pub modes: Vec<String>,
    /// Sandbox backends, best first.
    pub sandboxes: Vec<String>,
    /// CLI agents with a manifest.
    pub agents: Vec<String>,
    /// Whether `run` is allowed in mode 0.
    pub bare_run: bool,
    /// Steps it runs at once.
    pub slots: u32,
    /// Leases it holds.
    pub running: u32,
    /// When it was last heard of.
    pub last_seen: Option<Timestamp>,
}

#[derive(Default, Serialize, Deserialize)]
#[serde(default)]
struct Description {
    version: String,
    labels: BTreeMap<String, String>,
    modes: Vec<String>,
    sandboxes: Vec<String>,
    agents: Vec<String>,
    bare_run: bool,
    slots: u32,
}

/// The store's form of a hello.
pub(crate) fn encode(hello: &Hello) -> Bytes {
    let description = Description {
        version: hello.version.clone(),
        labels: hello.labels.clone().into_iter().collect(),
        modes: hello.modes.clone(),
        sandboxes: hello.sandboxes.clone(),
        agents: hello.agents.clone(),
        bare_run: hello.bare_run,
        slots: hello.slots,
    };
    serde_json::to_vec(&description).expect("a description is JSON").into()
}

/// A stored worker, with its open stream if it has one.
pub(crate) fn info(worker: store::Worker, link: Option<&WorkerLink>, running: u32) -> WorkerInfo {
    let description: Description = serde_json::from_slice(&worker.description).unwrap_or_default();
    WorkerInfo {
        name: worker.name,
        connected: link.is_some(),
        draining: worker.draining,
        version: description.version,
        labels: description.labels,
        modes: description.modes,
        sandboxes: description.sandboxes,
        agents: description.agents,
        bare_run: description.bare_run,
        slots: description.slots,
        running,
        last_seen: link.map(WorkerLink::last_seen),
    }
}
