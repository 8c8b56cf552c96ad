//! HPKE to a guest's key; grants and worker tokens: sign and verify. Pure: time and key bytes are passed in, and the only
//! thing taken from outside is randomness for new keys.
//!
//! | Who | Uses | Cargo features |
//! |---|---|---|
//! | guest | [`GuestKey`], [`sealed::open`], [`Payload`], `channel::dial` | `channel` (`default-features = false`) |
//! | server | `grant::GrantSigner` | `tokens` |
//! | worker | `worker_token::sign`; `channel::accept` for guests that dial out | `tokens`, `channel` |
//! | broker | `grant::GrantVerifier`, `worker_token::verify`, `sealed::seal` | `seal`, `tokens` |

#[cfg(feature = "channel")]
pub mod channel;
#[cfg(feature = "tokens")]
pub mod grant;
mod guest_key;
#[cfg(feature = "tokens")]
mod jws;
pub mod keys;
pub mod payload;
pub mod sealed;
#[cfg(feature = "tokens")]
pub mod worker_token;

pub use guest_key::GuestKey;
#[cfg(feature = "tokens")]
pub use jws::JwsError;
pub use keys::{PublicKey, SigningKey};
pub use payload::Payload;
