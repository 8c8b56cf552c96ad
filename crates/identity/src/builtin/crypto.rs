//! Encryption of values: XChaCha20-Poly1305 under a subkey of the data key (HKDF-SHA256, salted with the file's id), bound by
//! its additional data to file, identity, key, kind and version, so that no value can be moved to another place.

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{Key, XChaCha20Poly1305, XNonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of the data key.
pub const DATA_KEY_BYTES: usize = 32;

/// Why a value did not decrypt: it was changed, or moved from another place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value does not decrypt: it was changed or moved")]
pub struct NotAuthentic;

/// Where a value stands; all of it is authenticated with the value.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The identity's name.
    pub identity: &'a str,
    /// The key's name.
    pub key: &'a str,
    /// Secret or setting.
    pub secret: bool,
    /// Version, from 1.
    pub version: u64,
}

/// The subkeys of one file. Wiped when dropped; no `Debug`.
pub struct FileKeys {
    file_id: String,
    values: Zeroizing<[u8; 32]>,
    mac: Zeroizing<[u8; 32]>,
}

impl FileKeys {
    /// Derives the subkeys; the data key itself is not kept.
    pub fn derive(data_key: Zeroizing<[u8; DATA_KEY_BYTES]>, file_id: &str) -> Self {
        let hkdf = Hkdf::<Sha256>::new(Some(file_id.as_bytes()), data_key.as_ref());
        let subkey = |label: &str| {
            let mut key = Zeroizing::new([0; 32]);
            hkdf.expand(label.as_bytes(), key.as_mut()).expect("32 bytes are within what HKDF-SHA256 gives");
            key
        };
        FileKeys {
            file_id: file_id.into(),
            values: subkey("sagewai identity file v1 values"),
            mac: subkey("sagewai identity file v1 mac"),
        }
    }

    /// Encrypts a value: base64url of `nonce (24 bytes) ‖ ciphertext ‖ tag`.
    pub fn encrypt(&self, place: Place<'_>, value: &[u8]) -> Result<String, getrandom::Error> {
        let mut nonce = [0; 24];
        getrandom::fill(&mut nonce)?;
        let payload = Payload { msg: value, aad: &self.additional_data(place) };
        let sealed = self.cipher().encrypt(&XNonce::from(nonce), payload);
        let sealed = sealed.expect("a value is shorter than the cipher's limit of 256 GiB");
        Ok(Base64UrlUnpadded::encode_string(&[&nonce[..], &sealed].concat()))
    }

    /// Decrypts what stands at `place`.
    pub fn decrypt(&self, place: Place<'_>, text: &str) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let bytes = Base64UrlUnpadded::decode_vec(text).map_err(|_| NotAuthentic)?;
        let (nonce, sealed) = bytes.split_first_chunk::<24>().ok_or(NotAuthentic)?;
        let payload = Payload { msg: sealed, aad: &self.additional_data(place) };
        self.cipher().decrypt(&XNonce::from(*nonce), payload).map(Zeroizing::new).map_err(|_| NotAuthentic)
    }

    /// HMAC-SHA256 over `label ‖ LF ‖ bytes`, base64url.
    pub fn mac(&self, label: &str, bytes: &[u8]) -> String {
        Base64UrlUnpadded::encode_string(&self.mac_state(label, bytes).finalize().into_bytes())
    }

    /// Checks a MAC in constant time.
    pub fn mac_holds(&self, label: &str, bytes: &[u8], mac: &str) -> bool {
        let mac = Base64UrlUnpadded::decode_vec(mac).unwrap_or_default();
        self.mac_state(label, bytes).verify_slice(&mac).is_ok()
    }

    fn mac_state(&self, label: &str, bytes: &[u8]) -> Hmac<Sha256> {
        let mut state = <Hmac<Sha256> as KeyInit>::new_from_slice(self.mac.as_ref())
            .expect("HMAC takes keys of any length");
        state.update(label.as_bytes());
        state.update(b"\n");
        state.update(bytes);
        state
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&Key::from(*self.values))
    }

    /// Every field with its length before it, so that no two places give the same bytes.
    fn additional_data(&self, place: Place<'_>) -> Vec<u8> {
        let kind = if place.secret { "secret" } else { "setting" };
        let version = place.version.to_string();
        let mut out = Vec::new();
        for field in ["sagewai identity value v1", &self.file_id, place.identity, place.key, kind, &version] {
            out.extend_from_slice(&(field.len() as u64).to_be_bytes());
            out.extend_from_slice(field.as_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(file_id: &str) -> FileKeys {
        FileKeys::derive(Zeroizing::new([7; 32]), file_id)
    }

    const PLACE: Place<'_> = Place { identity: "acme", key: "TOKEN", secret: true, version: 1 };

    #[test]
    fn a_value_decrypts_at_its_place_only() {
        let text = keys("file").encrypt(PLACE, b"s3cret").unwrap();
        assert_eq!(keys("file").decrypt(PLACE, &text).unwrap().as_slice(), b"s3cret");
        for elsewhere in [
            Place { identity: "other", ..PLACE },
            Place { key: "OTHER", ..PLACE },
            Place { secret: false, ..PLACE },
            Place { version: 2, ..PLACE },
            Place { identity: "acmeTOKEN", key: "", ..PLACE },
        ] {
            assert_eq!(keys("file").decrypt(elsewhere, &text).err(), Some(NotAuthentic), "{elsewhere:?}");
        }
        assert!(keys("another file").decrypt(PLACE, &text).is_err());
        assert!(FileKeys::derive(Zeroizing::new([8; 32]), "file").decrypt(PLACE, &text).is_err());
    }

    #[test]
    fn a_changed_or_cut_value_is_refused() {
        let text = keys("file").encrypt(PLACE, b"s3cret").unwrap();
        let bytes = Base64UrlUnpadded::decode_vec(&text).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert!(keys("file").decrypt(PLACE, &Base64UrlUnpadded::encode_string(&changed)).is_err());
            assert!(keys("file").decrypt(PLACE, &Base64UrlUnpadded::encode_string(&bytes[..at])).is_err());
        }
    }
}
