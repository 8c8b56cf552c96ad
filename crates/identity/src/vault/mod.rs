//! Vault and OpenBao: KV version 2 for values that stay, other secrets engines for credentials that are made for a grant.
//!
//! - [`store`]: the store.
//! - `session`: the broker's own login, and requests with it.
//! - `kv`, `dynamic`: reading the two kinds of mounts.

mod dynamic;
mod kv;
mod session;
pub mod store;

pub use store::Vault;
