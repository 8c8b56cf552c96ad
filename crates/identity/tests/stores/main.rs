//! Identity backends against the real thing, or against stand-ins that the vendors' own clients and specifications have checked.
//! A counterpart that is not there is said to be: `cargo xtask test` installs them and sets the variables.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

#[cfg(feature = "aws-sm")]
mod aws_sm;
#[cfg(feature = "bitwarden")]
mod bitwarden;
mod external;
#[cfg(feature = "vault")]
#[path = "../broker/fixture.rs"]
#[expect(dead_code, reason = "the tests of the broker use the rest")]
mod fixture;
#[cfg(feature = "1password")]
mod onepassword;
#[cfg(feature = "sops")]
mod sops;
#[cfg(feature = "vault")]
mod vault;
#[cfg(feature = "vault")]
mod vault_dynamic;
