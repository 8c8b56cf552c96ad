//! The sandbox trait, the session with a guest, egress, the warm pool, the suites.
//!
//! A sandbox backend makes sandboxes and hands over one byte channel each; everything said over the channel is here,
//! so that it is the same for every sandbox backend.

#[cfg(feature = "suites")]
pub mod adversarial;
mod backend;
mod caller;
#[cfg(feature = "suites")]
pub mod conformance;
#[cfg(feature = "docker")]
pub mod docker;
pub mod egress;
mod error;
#[cfg(feature = "fake")]
pub mod fake;
mod guest;
mod image;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
#[cfg(feature = "lambda")]
pub mod lambda;
mod layout;
#[cfg(feature = "oci")]
pub mod oci;
pub mod pool;
#[cfg(feature = "suites")]
mod probe;
pub mod session;
#[cfg(feature = "suites")]
pub mod suite;

pub use backend::{
    Backend, Capabilities, Channel, Sandbox, SandboxId, SandboxLimits, Template, merge_layers, missing_layers,
};
pub use caller::caller_binary;
pub use error::SandboxError;
pub use guest::guest_binary;
pub use image::{Image, ImageConfig};
pub use layout::{HOME, PATH, STEP_ID, WORKSPACE};
#[cfg(feature = "suites")]
pub use probe::probe_binary;
pub use session::Session;
pub use tokio_util::sync::CancellationToken;
