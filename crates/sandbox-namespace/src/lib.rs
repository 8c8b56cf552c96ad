//! The namespace sandbox backend and its spawner.
//!
//! A small process, forked before the worker has threads or memory to copy, makes sandboxes from Linux namespaces. What
//! every sandbox shares is prepared once; what is left per sandbox takes one or two milliseconds.

mod backend;
mod cgroup;
mod layers;
mod spawner;
mod sys;
mod wire;

pub use backend::NamespaceBackend;
pub use spawner::{Spawner, SpawnerError, SpawnerOptions};
