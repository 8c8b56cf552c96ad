//! Identity backends outside of the broker: each reads a store as it is ([`store`]), and [`mod@backend`] makes an identity backend
//! of it with the names, views and limits that `backends.toml` gives.
//!
//! - [`mod@config`]: what `backends.toml` says.
//! - [`mapping`]: from a store's names to what a step sees. Pure.
//! - [`store`]: what a store has to do.
//! - [`mod@backend`]: the identity backend.
//! - [`open`]: the stores of a configuration.

pub mod backend;
pub mod config;
pub(crate) mod credential;
#[cfg(feature = "http")]
pub(crate) mod http;
#[cfg(feature = "http")]
pub(crate) mod json;
pub mod mapping;
pub mod open;
pub mod store;

pub use backend::External;
