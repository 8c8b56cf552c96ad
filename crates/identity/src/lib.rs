//! Identity backends and the broker: the only process that holds secrets.
//!
//! - [`mod@reference`]: names of identities, views and keys, and how a reference is parsed.
//! - [`backend`]: the trait of an identity backend; [`conformance`] is what each must do.
//! - [`builtin`]: the encrypted file; [`memory`]: the fake.
//! - [`external`]: the stores outside of the broker and `backends.toml`; `vault`, `aws_sm`, `sops`, `onepassword`, `bitwarden`
//!   are one each, behind features of their names.
//! - [`policy`]: what may ask for an identity. Pure.
//! - [`audit`]: the hash-chained trail.
//! - [`broker`]: the process: worker API, admin API, durable single use.
//! - [`admin`]: the client of the admin API, for the CLI.

pub mod admin;
pub mod advice;
pub mod audit;
#[cfg(feature = "aws-sm")]
pub mod aws_sm;
pub mod backend;
#[cfg(feature = "bitwarden")]
pub mod bitwarden;
pub mod broker;
pub mod builtin;
#[cfg(any(test, feature = "suites"))]
pub mod conformance;
mod disk;
pub mod external;
#[cfg(any(test, feature = "suites"))]
pub mod memory;
#[cfg(feature = "1password")]
pub mod onepassword;
mod percent;
pub mod policy;
pub mod reference;
#[cfg(feature = "sops")]
pub mod sops;
#[cfg(feature = "vault")]
pub mod vault;
