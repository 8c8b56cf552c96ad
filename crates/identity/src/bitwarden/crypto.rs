//! Keys and encrypted strings: AES-256-CBC under HMAC-SHA256, in text `2.iv|ciphertext|mac`, each part base64.

use aes::Aes256;
use aes::cipher::{BlockDecrypt, KeyInit as _};
use base64ct::{Base64, Encoding};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit as _, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Bytes of one block.
const BLOCK: usize = 16;

/// Why a text was not decrypted. No message holds a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// Not `2.iv|ciphertext|mac`.
    #[error("it is no encrypted string of type 2")]
    Form,
    /// The MAC does not hold.
    #[error("it was changed, or encrypted with another key")]
    Mac,
}

/// A key for encrypted strings. It has no `Debug` and is wiped when dropped.
pub struct Key {
    encrypt: Zeroizing<[u8; 32]>,
    mac: Zeroizing<[u8; 32]>,
}

impl Key {
    /// Of 64 bytes: the first half encrypts.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let (encrypt, mac) = bytes.split_at_checked(32)?;
        Some(Key {
            encrypt: Zeroizing::new(encrypt.try_into().ok()?),
            mac: Zeroizing::new(mac.try_into().ok()?),
        })
    }

    /// Of the 16 bytes at the end of an access token.
    pub fn of_access_token(secret: &[u8; 16]) -> Self {
        let mut hmac = Hmac::<Sha256>::new_from_slice(b"bitwarden-accesstoken").expect("HMAC takes any key");
        hmac.update(secret);
        let secret = Zeroizing::new(<[u8; 32]>::from(hmac.finalize().into_bytes()));
        let mut bytes = Zeroizing::new([0; 64]);
        let expanded =
            Hkdf::<Sha256>::from_prk(secret.as_slice()).expect("32 bytes are a key of HKDF-SHA256");
        expanded.expand(b"sm-access-token", bytes.as_mut()).expect("64 bytes are few");
        Key::of(bytes.as_slice()).expect("64 bytes are a key")
    }

    /// Decrypts an encrypted string.
    pub fn decrypt(&self, text: &str) -> Result<Zeroizing<Vec<u8>>, CryptoError> {
        let mut parts = text.strip_prefix("2.").ok_or(CryptoError::Form)?.split('|');
        let mut part =
            || parts.next().and_then(|part| Base64::decode_vec(part).ok()).ok_or(CryptoError::Form);
        let (iv, mut message, tag) = (part()?, Zeroizing::new(part()?), part()?);
        if iv.len() != BLOCK || message.is_empty() || message.len() % BLOCK != 0 || parts.next().is_some() {
            return Err(CryptoError::Form);
        }
        let mut hmac = Hmac::<Sha256>::new_from_slice(self.mac.as_slice()).expect("HMAC takes any key");
        hmac.update(&iv);
        hmac.update(&message);
        hmac.verify_slice(&tag).map_err(|_| CryptoError::Mac)?;
        self.decrypt_blocks(&iv, &mut message);
        let padding = usize::from(*message.last().ok_or(CryptoError::Form)?);
        let whole = message.len();
        if padding == 0
            || padding > BLOCK
            || message[whole - padding..].iter().any(|byte| usize::from(*byte) != padding)
        {
            return Err(CryptoError::Form);
        }
        message.truncate(whole - padding);
        Ok(message)
    }

    /// Cipher block chaining, in place; the MAC has been checked.
    fn decrypt_blocks(&self, iv: &[u8], message: &mut [u8]) {
        let cipher = Aes256::new_from_slice(self.encrypt.as_slice()).expect("a key of AES-256 has 32 bytes");
        let mut before: [u8; BLOCK] = iv.try_into().expect("the length was checked");
        for block in message.chunks_exact_mut(BLOCK) {
            let sealed: [u8; BLOCK] = (&*block).try_into().expect("chunks have this length");
            cipher.decrypt_block(block.into());
            block.iter_mut().zip(before).for_each(|(byte, before)| *byte ^= before);
            before = sealed;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with other software: AES-256-CBC and HMAC-SHA256 of OpenSSL through Python's `cryptography`.
    const SEALED: &str = "2.ZGVmZ2hpamtsbW5vcHFycw==|X7Oy6/uDJomKGmgNYNXtWIMPaS+zwusyknlymilMDxA=|sAnyqYYESS/ESQDYGuzTCVSsP74SJSRI4FuuEamXvWQ=";

    #[test]
    fn decrypts_a_vector() {
        let key = Key::of(&(0..64).collect::<Vec<u8>>()).unwrap();
        assert_eq!(key.decrypt(SEALED).unwrap().as_slice(), "wért ☂ of a vector".as_bytes());
    }

    #[test]
    fn derives_the_key_of_a_vector() {
        let key = Key::of_access_token(b"0123456789abcdef");
        let hex: String =
            key.encrypt.iter().chain(key.mac.iter()).map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "b558470dfd3bda5318ae50044f316f46857da5cfb0e4ddf37a114a04daafeda092cc4f2725f59ccd9afb8695eccb7518467ce2dbb1636404160592a9951a843c"
        );
    }

    #[test]
    fn what_was_changed_is_refused() {
        let key = Key::of(&(0..64).collect::<Vec<u8>>()).unwrap();
        let parts: Vec<&str> = SEALED.strip_prefix("2.").unwrap().split('|').collect();
        let with = |iv: &str, message: &str, tag: &str| key.decrypt(&format!("2.{iv}|{message}|{tag}")).err();
        let zeros = Base64::encode_string(&[0; 16]);
        assert_eq!(with(&zeros, parts[1], parts[2]), Some(CryptoError::Mac));
        assert_eq!(with(parts[0], &zeros, parts[2]), Some(CryptoError::Mac));
        assert_eq!(with(parts[0], parts[1], &zeros), Some(CryptoError::Mac));
        assert_eq!(with(parts[0], "", parts[2]), Some(CryptoError::Form));
        for bad in ["", "2.", "0.a|b", "2.a|b", &SEALED.replacen("2.", "1.", 1), &format!("{SEALED}|x")] {
            assert_eq!(key.decrypt(bad).err(), Some(CryptoError::Form), "{bad}");
        }
        let other = Key::of(&[1; 64]).unwrap();
        assert_eq!(other.decrypt(SEALED).err(), Some(CryptoError::Mac));
    }
}
