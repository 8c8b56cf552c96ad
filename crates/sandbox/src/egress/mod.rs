//! Where a step may connect to: the worker matches the name, resolves it, refuses private addresses, dials.
//!
//! The address that was checked is the address that is dialled; nothing is resolved twice.

mod address;
#[cfg(feature = "http")]
mod connector;
mod dial;
mod host;
mod policy;

pub use address::{AddressClass, classify};
#[cfg(feature = "http")]
pub use connector::{GuardedConnector, refusal};
pub use dial::{Denial, DenialReason, Dialer, Egress, Resolve, SystemResolver};
pub use host::{Host, HostError, allows};
pub use policy::{OperatorPolicy, PolicyError};
