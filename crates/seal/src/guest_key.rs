//! A guest's X25519 key: made at its start, used for one step, never stored.

use hpke::kem::X25519HkdfSha256;
use hpke::{Kem, Serializable};
use zeroize::Zeroizing;

use crate::keys::KeyError;

/// The private key to which an identity is sealed. It has no `Debug` and is wiped when dropped.
pub struct GuestKey {
    pub(crate) private: <X25519HkdfSha256 as Kem>::PrivateKey,
    public: [u8; 32],
}

impl GuestKey {
    /// A new key from the operating system's randomness (RFC 9180 §7.1.3, DeriveKeyPair).
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self::derive(&seed))
    }

    /// The public half: what the guest sends in its first frame.
    pub fn public_bytes(&self) -> [u8; 32] {
        self.public
    }

    pub(crate) fn derive(seed: &[u8; 32]) -> Self {
        let (private, public) = X25519HkdfSha256::derive_keypair(seed);
        GuestKey { private, public: public.to_bytes().into() }
    }
}
