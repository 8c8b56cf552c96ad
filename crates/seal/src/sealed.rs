//! Sealing to a guest and opening inside it: HPKE base mode (RFC 9180) with DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and
//! ChaCha20-Poly1305, signed by the broker because base mode alone lets anyone seal to a guest.

use base64ct::{Base64UrlUnpadded, Encoding};
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR};
use protocol::broker::{Sealed, SealedBinding};
use protocol::id::AttemptId;
use zeroize::Zeroizing;

use crate::guest_key::GuestKey;
use crate::keys::PublicKey;
use crate::payload::{MAX_PAYLOAD_BYTES, Payload, PayloadError};

/// HPKE `info` and the first bytes under the broker's signature: protocol and version.
const LABEL: &[u8] = b"sagewai sealed identity v1";
/// Longest `bound_text`, bytes.
const MAX_BOUND_BYTES: usize = 2 * 1024;
/// Longest ciphertext, bytes: a payload and its tag.
const MAX_CIPHERTEXT_BYTES: usize = MAX_PAYLOAD_BYTES + 16;

/// Why a message did not open. No message tells anything of its content.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// A part is not base64url or is longer than it may be.
    #[error("the sealed identity is malformed")]
    Malformed,
    /// The broker that the guest was told of did not sign it.
    #[error("the sealed identity is not signed by the expected broker")]
    Signature,
    /// It is bound to another attempt.
    #[error("the sealed identity is bound to another attempt")]
    Attempt,
    /// It expired on the way.
    #[error("the sealed identity has expired")]
    Expired,
    /// It is sealed to another guest, or was changed.
    #[error("the sealed identity does not open with this guest's key")]
    Decrypt,
    /// The content is not a payload that this guest knows.
    #[error("the sealed identity's content is refused: {0}")]
    Payload(#[from] PayloadError),
}

/// Opens a message inside the guest: signed by `broker`, bound to `attempt`, alive at `now_seconds` (Unix epoch), sealed to `key`.
pub fn open(
    key: &GuestKey,
    sealed: &Sealed,
    broker: &PublicKey,
    attempt: AttemptId,
    now_seconds: i64,
) -> Result<Payload, OpenError> {
    if sealed.ciphertext.len() > MAX_CIPHERTEXT_BYTES.div_ceil(3) * 4
        || sealed.bound_text.len() > MAX_BOUND_BYTES
    {
        return Err(OpenError::Malformed);
    }
    let encapsulated_key = decode(&sealed.encapsulated_key)?;
    let ciphertext = decode(&sealed.ciphertext)?;
    let signature = decode(&sealed.signature)?;
    if encapsulated_key.len() != 32 {
        return Err(OpenError::Malformed);
    }
    if !broker.verifies(&signed_bytes(&encapsulated_key, &ciphertext, &sealed.bound_text), &signature) {
        return Err(OpenError::Signature);
    }
    let bound: SealedBinding = serde_json::from_str(&sealed.bound_text).map_err(|_| OpenError::Malformed)?;
    if bound.attempt != attempt {
        return Err(OpenError::Attempt);
    }
    if bound.expires <= now_seconds {
        return Err(OpenError::Expired);
    }
    let plaintext = hpke_open(key, &encapsulated_key, LABEL, sealed.bound_text.as_bytes(), &ciphertext)?;
    Ok(Payload::decode(&plaintext)?)
}

fn hpke_open(
    key: &GuestKey,
    encapsulated_key: &[u8],
    info: &[u8],
    aad: &[u8],
    ciphertext: &[u8],
) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let encapsulated_key = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated_key)
        .map_err(|_| OpenError::Malformed)?;
    hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &key.private,
        &encapsulated_key,
        info,
        ciphertext,
        aad,
    )
    .map(Zeroizing::new)
    .map_err(|_| OpenError::Decrypt)
}

/// What the broker signs: `label ‖ encapsulated key ‖ ciphertext length (u64, big-endian) ‖ ciphertext ‖ bound_text`. With the
/// length there is one way to read it.
fn signed_bytes(encapsulated_key: &[u8], ciphertext: &[u8], bound_text: &str) -> Vec<u8> {
    let length = (ciphertext.len() as u64).to_be_bytes();
    [LABEL, encapsulated_key, &length, ciphertext, bound_text.as_bytes()].concat()
}

fn decode(text: &str) -> Result<Vec<u8>, OpenError> {
    Base64UrlUnpadded::decode_vec(text).map_err(|_| OpenError::Malformed)
}

#[cfg(feature = "seal")]
pub use sealing::{SealError, seal};

#[cfg(feature = "seal")]
mod sealing {
    //! The broker's half.

    use hpke::{OpModeS, Serializable};

    use super::*;
    use crate::keys::SigningKey;

    /// Why a payload could not be sealed.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum SealError {
        /// The guest's key is no X25519 public key, or one of small order.
        #[error("the guest's key is not an X25519 public key")]
        GuestKey,
    }

    /// Seals `payload` to the guest, bound to `binding`, signed by the broker.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    pub fn seal(
        payload: &Payload,
        guest_public: &[u8; 32],
        binding: &SealedBinding,
        broker: &SigningKey,
    ) -> Result<Sealed, SealError> {
        let guest = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(guest_public)
            .map_err(|_| SealError::GuestKey)?;
        let bound_text = serde_json::to_string(binding).expect("strings and integers serialise");
        let (encapsulated_key, ciphertext) =
            hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
                &OpModeS::Base,
                &guest,
                LABEL,
                &payload.encode(),
                bound_text.as_bytes(),
            )
            .map_err(|_| SealError::GuestKey)?;
        let encapsulated_key = encapsulated_key.to_bytes();
        let signature = broker.sign(&signed_bytes(&encapsulated_key, &ciphertext, &bound_text));
        Ok(Sealed {
            encapsulated_key: Base64UrlUnpadded::encode_string(&encapsulated_key),
            ciphertext: Base64UrlUnpadded::encode_string(&ciphertext),
            bound_text,
            signature: Base64UrlUnpadded::encode_string(&signature),
        })
    }
}

#[cfg(test)]
#[cfg(feature = "seal")]
mod tests {
    use protocol::id::{RunId, StepId};

    use super::*;
    use crate::keys::SigningKey;
    use crate::payload::{Entry, Kind};

    const NOW: i64 = 1_800_000_000;

    fn attempt(number: u32) -> AttemptId {
        AttemptId { run: RunId(uuid::Uuid::from_u128(1)), step: StepId(2), attempt: number }
    }

    fn binding() -> SealedBinding {
        SealedBinding { grant: "jti-1".into(), attempt: attempt(1), expires: NOW + 300 }
    }

    fn guest(seed: u8) -> GuestKey {
        GuestKey::derive(&[seed; 32])
    }

    fn broker(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn sealed_to(guest: &GuestKey) -> Sealed {
        let mut payload = Payload::new();
        let value = Zeroizing::new(b"s3cret".to_vec());
        payload.push(Entry::environment(Kind::Secret, "TOKEN", value).ok().unwrap()).unwrap();
        seal(&payload, &guest.public_bytes(), &binding(), &broker(1)).unwrap()
    }

    fn refusal(
        key: &GuestKey,
        sealed: &Sealed,
        broker: &SigningKey,
        attempt: AttemptId,
        now: i64,
    ) -> OpenError {
        open(key, sealed, &broker.public_key(), attempt, now).err().expect("must be refused")
    }

    fn unhex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn opens_the_vector_of_rfc_9180_a_2_1() {
        let ikm: [u8; 32] =
            unhex("1ac01f181fdf9f352797655161c58b75c656a6cc2716dcb66372da835542e1df").try_into().unwrap();
        let key = GuestKey::derive(&ikm);
        assert_eq!(
            key.public_bytes().to_vec(),
            unhex("4310ee97d88cc1f088a5576c77ab0cf5c3ac797f3d95139c6c84b5429c59662a")
        );
        let plaintext = hpke_open(
            &key,
            &unhex("1afa08d3dec047a643885163f1180476fa7ddb54c6a8029ea33f95796bf2ac4a"),
            &unhex("4f6465206f6e2061204772656369616e2055726e"),
            &unhex("436f756e742d30"),
            &unhex(
                "1c5250d8034ec2b784ba2cfd69dbdb8af406cfe3ff938e131f0def8c8b60b4db21993c62ce81883d2dd1b51a28",
            ),
        )
        .unwrap();
        assert_eq!(plaintext.as_slice(), b"Beauty is truth, truth beauty");
    }

    #[test]
    fn opens_in_its_guest_for_its_attempt() {
        let payload =
            open(&guest(1), &sealed_to(&guest(1)), &broker(1).public_key(), attempt(1), NOW).ok().unwrap();
        assert_eq!(payload.entries()[0].name(), "TOKEN");
        assert_eq!(payload.entries()[0].value(), b"s3cret");
    }

    #[test]
    fn another_guest_attempt_broker_or_time_is_refused() {
        let (key, sealed) = (guest(1), sealed_to(&guest(1)));
        assert_eq!(refusal(&guest(2), &sealed, &broker(1), attempt(1), NOW), OpenError::Decrypt);
        assert_eq!(refusal(&key, &sealed, &broker(1), attempt(2), NOW), OpenError::Attempt);
        assert_eq!(refusal(&key, &sealed, &broker(2), attempt(1), NOW), OpenError::Signature);
        assert_eq!(refusal(&key, &sealed, &broker(1), attempt(1), NOW + 300), OpenError::Expired);
    }

    #[test]
    fn a_change_of_any_field_is_refused() {
        let key = guest(1);
        let changes: [fn(&mut Sealed); 4] = [
            |s| s.encapsulated_key = flip(&s.encapsulated_key),
            |s| s.ciphertext = flip(&s.ciphertext),
            |s| s.signature = flip(&s.signature),
            |s| s.bound_text = s.bound_text.replace("jti-1", "jti-2"),
        ];
        for change in changes {
            let mut sealed = sealed_to(&key);
            change(&mut sealed);
            assert_eq!(refusal(&key, &sealed, &broker(1), attempt(1), NOW), OpenError::Signature);
        }
    }

    /// Even a broker's signature over a changed binding does not open: the binding is HPKE's `aad` too.
    #[test]
    fn the_binding_is_authenticated_by_the_encryption_too() {
        let (key, mut sealed) = (guest(1), sealed_to(&guest(1)));
        sealed.bound_text = sealed.bound_text.replace("jti-1", "jti-2");
        let bytes = |text: &str| Base64UrlUnpadded::decode_vec(text).unwrap();
        let signed =
            signed_bytes(&bytes(&sealed.encapsulated_key), &bytes(&sealed.ciphertext), &sealed.bound_text);
        sealed.signature = Base64UrlUnpadded::encode_string(&broker(1).sign(&signed));
        assert_eq!(refusal(&key, &sealed, &broker(1), attempt(1), NOW), OpenError::Decrypt);
    }

    #[test]
    fn a_guest_key_of_small_order_is_refused() {
        let sealed = seal(&Payload::new(), &[0; 32], &binding(), &broker(1));
        assert_eq!(sealed.err(), Some(SealError::GuestKey));
    }

    #[test]
    fn two_seals_of_the_same_differ() {
        assert_ne!(sealed_to(&guest(1)).ciphertext, sealed_to(&guest(1)).ciphertext);
    }

    fn flip(text: &str) -> String {
        let first = if text.starts_with('A') { "B" } else { "A" };
        format!("{first}{}", &text[1..])
    }
}
