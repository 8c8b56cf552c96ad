//! The sandbox backend over a Docker daemon, or Podman's socket with the same API: local or remote, any image unchanged.
//!
//! A container per sandbox, of which the guest is process 1. The guest comes from a volume that is filled once per daemon,
//! and is mounted read-only; the channel is the container's attached input and output. Nothing secret ever reaches the
//! daemon: an identity travels through the channel, sealed to the guest.

mod attach;
mod backend;
mod connect;
mod container;
mod credentials;
mod guest_volume;
mod image;
mod options;
mod sandbox;
mod sweep;
mod trouble;

pub use backend::DockerBackend;
pub use options::{DockerOptions, Host, Pull};

/// Name of this sandbox backend.
const NAME: &str = "docker";
