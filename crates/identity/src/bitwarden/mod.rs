//! Bitwarden Secrets Manager: an identity is a project, its keys are the project's secrets. Names and values are encrypted for
//! the organization; the broker decrypts them.
//!
//! - [`store`]: the store.
//! - `session`: the login of the machine account.
//! - [`crypto`]: keys and encrypted strings.

pub mod crypto;
mod session;
pub mod store;

pub use store::Bitwarden;
