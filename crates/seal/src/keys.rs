//! Ed25519 keys (RFC 8032): who signed a grant, a worker's request, a sealed message or an audit checkpoint. Loading and
//! storing is by bytes; files are the caller's.

use std::fmt;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use zeroize::{Zeroize, Zeroizing};

/// DER of an RFC 8410 private key up to its 32 bytes: PKCS#8 version 0, algorithm 1.3.101.112, no attributes.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";

/// Why key bytes were refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Neither 32 raw bytes nor PKCS#8 (DER or PEM) of an Ed25519 key.
    #[error("not an Ed25519 private key: expected 32 raw bytes or PKCS#8 (DER or PEM, RFC 8410)")]
    NotPrivateKey,
    /// Not 32 bytes in base64url without padding, or not a point of full order.
    #[error("not an Ed25519 public key: expected 32 bytes as 43 characters of base64url")]
    NotPublicKey,
    /// The operating system gave no randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// An Ed25519 private key. It has no `Debug`, `Display` or `Serialize` and is wiped when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key from the operating system's randomness.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = Zeroizing::new([0u8; 32]);
        getrandom::fill(seed.as_mut()).map_err(|_| KeyError::NoRandomness)?;
        Ok(Self::from_seed(&seed))
    }

    /// The key of a 32-byte seed (RFC 8032's "private key").
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        SigningKey(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Reads a key file's content: 32 raw bytes, PKCS#8 DER, or PKCS#8 PEM as `openssl genpkey -algorithm ed25519` writes.
    pub fn from_file_bytes(bytes: &[u8]) -> Result<Self, KeyError> {
        if let Ok(seed) = <&[u8; 32]>::try_from(bytes) {
            return Ok(Self::from_seed(seed));
        }
        if let Some(seed) = bytes.strip_prefix(&PKCS8_PREFIX) {
            return seed.try_into().map(Self::from_seed).map_err(|_| KeyError::NotPrivateKey);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| KeyError::NotPrivateKey)?.trim();
        let body = text.strip_prefix(PEM_BEGIN).and_then(|rest| rest.strip_suffix(PEM_END));
        let body = body.ok_or(KeyError::NotPrivateKey)?.trim();
        let der = Zeroizing::new(Base64::decode_vec(body).map_err(|_| KeyError::NotPrivateKey)?);
        let seed = der.strip_prefix(&PKCS8_PREFIX).ok_or(KeyError::NotPrivateKey)?;
        seed.try_into().map(Self::from_seed).map_err(|_| KeyError::NotPrivateKey)
    }

    /// A key file's content: PKCS#8 PEM (RFC 8410, RFC 7468), readable by OpenSSL. The caller writes it with mode 0600.
    pub fn to_pem(&self) -> Zeroizing<String> {
        let mut der = Zeroizing::new([0u8; 48]);
        der[..16].copy_from_slice(&PKCS8_PREFIX);
        der[16..].copy_from_slice(self.0.as_bytes());
        let mut body = Base64::encode_string(der.as_ref());
        let pem = Zeroizing::new(format!("{PEM_BEGIN}\n{body}\n{PEM_END}\n"));
        body.zeroize();
        pem
    }

    /// The public half.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// A signature over `message`, 64 bytes.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// An Ed25519 public key; its text form is 32 bytes in base64url without padding.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads 32 bytes; points of small order are refused, since everything verifies under them.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, KeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NotPublicKey)?;
        if key.is_weak() { Err(KeyError::NotPublicKey) } else { Ok(PublicKey(key)) }
    }

    /// Reads the text form.
    pub fn from_text(text: &str) -> Result<Self, KeyError> {
        let mut bytes = [0u8; 32];
        match Base64UrlUnpadded::decode(text, &mut bytes) {
            Ok(decoded) if decoded.len() == 32 => Self::from_bytes(&bytes),
            _ => Err(KeyError::NotPublicKey),
        }
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// The key's id: the RFC 7638 thumbprint of its JWK (RFC 8037), base64url, 43 characters.
    pub fn id(&self) -> String {
        let jwk = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{self}"}}"#);
        Base64UrlUnpadded::encode_string(&Sha256::digest(jwk.as_bytes()))
    }

    /// Whether `signature` is this key's over `message`; strict: no malleable or small-order forms.
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else { return false };
        self.0.verify_strict(message, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&Base64UrlUnpadded::encode_string(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8410 §10.3.
    const RFC_8410_PEM: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";
    const RFC_8410_PUBLIC: &str = "Gb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE";

    #[test]
    fn reads_and_writes_the_pem_of_rfc_8410() {
        let key = SigningKey::from_file_bytes(RFC_8410_PEM.as_bytes()).unwrap();
        assert_eq!(key.public_key().to_string(), RFC_8410_PUBLIC);
        assert_eq!(key.to_pem().as_str(), RFC_8410_PEM);
    }

    #[test]
    fn reads_raw_and_der_and_refuses_the_rest() {
        let pem = SigningKey::from_file_bytes(RFC_8410_PEM.as_bytes()).unwrap();
        let raw = SigningKey::from_file_bytes(pem.0.as_bytes()).unwrap();
        let der = [&PKCS8_PREFIX[..], pem.0.as_bytes()].concat();
        assert_eq!(raw.public_key(), SigningKey::from_file_bytes(&der).unwrap().public_key());
        for bad in
            [&b""[..], &der[..47], &[0; 33], b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"]
        {
            assert!(SigningKey::from_file_bytes(bad).is_err());
        }
    }

    #[test]
    fn the_id_is_the_thumbprint_of_rfc_8037() {
        let key = PublicKey::from_text("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(key.id(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        let mut identity_point = [0; 32];
        identity_point[0] = 1;
        assert_eq!(PublicKey::from_bytes(&identity_point), Err(KeyError::NotPublicKey));
    }
}
