//! Identity backends and the broker: the only process that holds secrets.
//!
//! - [`mod@reference`]: names of identities, views and keys, and how a reference is parsed.
//! - [`backend`]: the trait of an identity backend; [`conformance`] is what each must do.
//! - [`builtin`]: the encrypted file; [`memory`]: the fake.
//! - [`policy`]: what may ask for an identity. Pure.
//! - [`audit`]: the hash-chained trail.
//! - [`broker`]: the process: worker API, admin API, durable single use.
//! - [`admin`]: the client of the admin API, for the CLI.

pub mod admin;
pub mod advice;
pub mod audit;
pub mod backend;
pub mod broker;
pub mod builtin;
pub mod conformance;
mod disk;
pub mod memory;
pub mod policy;
pub mod reference;
