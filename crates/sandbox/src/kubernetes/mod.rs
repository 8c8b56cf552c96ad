//! Sandboxes as pods of a Kubernetes cluster: a pod each, the channel over its attach, a network that must be closed.
//!
//! The worker owns its pods by a lease that it renews: what a dead worker leaves is removed by the next, or by any other.

mod attach;
mod backend;
mod config;
mod connect;
mod fate;
mod guest_image;
mod lease;
mod network;
mod pod;
mod reason;
mod sandbox;
mod watch;

pub use backend::KubernetesBackend;
pub use config::{GuestSource, KubernetesConfig, NetworkCheck, Scratch, Toleration};
pub use guest_image::guest_image;

/// Name of this sandbox backend.
const NAME: &str = "kubernetes";
/// Label of everything that is made here: what it is part of.
const PART_LABEL: &str = "sagewai.dev/part";
/// Value of [`PART_LABEL`] on pods.
const PART_SANDBOX: &str = "sandbox";
/// Value of [`PART_LABEL`] on workers' leases.
const PART_WORKER: &str = "worker";
/// Label of what belongs to one worker: the name of its lease.
const WORKER_LABEL: &str = "sagewai.dev/worker";
