//! A byte channel across a network that nobody but two parties can read or change: HPKE (RFC 9180) in PSK mode makes the
//! keys, and records with sequence numbers carry the bytes. A guest that dials out to its worker speaks it.
//!
//! ```text
//! opening = "sagewai" 1:u8 ‖ call:16 ‖ encapsulated key:32 ‖ tag:16     the one who dials
//! answer  = tag:16                                                      the one who was dialled
//! record  = length:u16 big-endian ‖ ciphertext ‖ tag:16                 both, from then on
//! ```
//! `length` counts what follows it and is authenticated with it. The pre-shared key is a token that is used once, its
//! `psk_id` the call's number: so the tag of the opening proves who dials, and the tag of the answer who was dialled. The
//! keys of both directions come from HPKE's export interface (§5.3). Nonces are counters, as in HPKE's own (§5.2).

use chacha20poly1305::aead::{AeadInOut, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce, Tag};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, HpkeError, Kem, OpModeR, OpModeS, PskBundle, Serializable};
use zeroize::Zeroizing;

use crate::guest_key::GuestKey;

/// HPKE `info`, and the first bytes that are authenticated: protocol and version.
const LABEL: &[u8] = b"sagewai dialled channel v1";
/// First bytes of an opening: a name and a version.
const MAGIC: [u8; 8] = *b"sagewai\x01";
const ENCAPSULATED_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const HEADER_BYTES: usize = 2;

/// Bytes of a call's number, which says publicly which call an opening is for.
pub const CALL_BYTES: usize = 16;
/// Bytes of the token that only the two parties of a call know.
pub const TOKEN_BYTES: usize = 32;
/// Bytes of an opening.
pub const OPENING_BYTES: usize = MAGIC.len() + CALL_BYTES + ENCAPSULATED_BYTES + TAG_BYTES;
/// Bytes of an answer.
pub const ANSWER_BYTES: usize = TAG_BYTES;
/// Bytes of plaintext in one record, at most.
pub const MAX_RECORD_BYTES: usize = 32 * 1024;

type Aead = hpke::aead::ChaCha20Poly1305;
type Kdf = HkdfSha256;
type X25519 = X25519HkdfSha256;

/// Why bytes are not of this channel. After an error the channel is lost: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelError {
    /// The other party speaks another protocol or version.
    #[error("what was sent is no opening of this version")]
    Opening,
    /// The key of the dialled party is no X25519 public key, or one of small order.
    #[error("a key is not an X25519 public key")]
    Key,
    /// Another token, another key, or changed on the way.
    #[error("the other party is not the one that was meant")]
    Stranger,
    /// A record has a length that no record has.
    #[error("a record has an impossible length")]
    Length,
    /// A record was changed, repeated, left out or moved.
    #[error("a record was changed on the way")]
    Record,
}

/// The numbers of one call: public `call`, secret `token`. It has no `Debug`; the token is wiped when dropped.
pub struct Call {
    /// Says which call an opening is for.
    pub call: [u8; CALL_BYTES],
    /// Known to the two parties alone, used once.
    pub token: Zeroizing<[u8; TOKEN_BYTES]>,
}

impl Call {
    /// A new call, from the operating system's randomness.
    pub fn generate() -> Result<Self, crate::keys::KeyError> {
        let mut made = Call { call: [0; CALL_BYTES], token: Zeroizing::new([0; TOKEN_BYTES]) };
        let filled = getrandom::fill(&mut made.call).and_then(|()| getrandom::fill(made.token.as_mut()));
        filled.map_err(|_| crate::keys::KeyError::NoRandomness)?;
        Ok(made)
    }
}

/// Begins a call to the holder of `listener`: the opening to send, and what waits for the answer.
///
/// # Panics
/// If the operating system has no randomness to give.
pub fn dial(call: &Call, listener: &[u8; 32]) -> Result<([u8; OPENING_BYTES], Dialled), ChannelError> {
    let listener = <X25519 as Kem>::PublicKey::from_bytes(listener).map_err(|_| ChannelError::Key)?;
    let mode = OpModeS::Psk(psk(call)?);
    let (encapsulated, context) =
        hpke::setup_sender::<Aead, Kdf, X25519>(&mode, &listener, LABEL).map_err(|_| ChannelError::Key)?;
    let mut keys = Keys::export(|label, out| context.export(label, out))?;
    let mut opening = [0; OPENING_BYTES];
    let (head, tag) = opening.split_at_mut(OPENING_BYTES - TAG_BYTES);
    head[..MAGIC.len()].copy_from_slice(&MAGIC);
    head[MAGIC.len()..][..CALL_BYTES].copy_from_slice(&call.call);
    head[MAGIC.len() + CALL_BYTES..].copy_from_slice(&encapsulated.to_bytes());
    tag.copy_from_slice(&keys.of_dialler.seal(head, &mut []));
    Ok((opening, Dialled(keys)))
}

/// A call that waits for its answer.
pub struct Dialled(Keys);

impl Dialled {
    /// Both directions, if the answer is that of the party that was dialled.
    pub fn answered(mut self, answer: &[u8; ANSWER_BYTES]) -> Result<(Sealer, Opener), ChannelError> {
        let told = self.0.of_dialled.open(LABEL, &mut [], answer);
        told.map_err(|_| ChannelError::Stranger)?;
        Ok((Sealer(self.0.of_dialler), Opener::new(self.0.of_dialled)))
    }
}

/// The public number of the call that an opening is for, to find its key and token by. Nothing is proved yet.
pub fn call_of(opening: &[u8; OPENING_BYTES]) -> Result<[u8; CALL_BYTES], ChannelError> {
    let rest = opening.strip_prefix(&MAGIC).ok_or(ChannelError::Opening)?;
    rest.first_chunk().copied().ok_or(ChannelError::Opening)
}

/// Takes a call: the answer to send, and both directions. `key` and `call` are to be used for no other.
pub fn accept(
    key: &GuestKey,
    call: &Call,
    opening: &[u8; OPENING_BYTES],
) -> Result<([u8; ANSWER_BYTES], Sealer, Opener), ChannelError> {
    if call_of(opening)? != call.call {
        return Err(ChannelError::Stranger);
    }
    let (head, tag) = opening.split_at(OPENING_BYTES - TAG_BYTES);
    let encapsulated = <X25519 as Kem>::EncappedKey::from_bytes(&head[MAGIC.len() + CALL_BYTES..])
        .map_err(|_| ChannelError::Opening)?;
    let mode = OpModeR::Psk(psk(call)?);
    let context = hpke::setup_receiver::<Aead, Kdf, X25519>(&mode, &key.private, &encapsulated, LABEL)
        .map_err(|_| ChannelError::Stranger)?;
    let mut keys = Keys::export(|label, out| context.export(label, out))?;
    let tag = tag.try_into().map_err(|_| ChannelError::Opening)?;
    keys.of_dialler.open(head, &mut [], &tag).map_err(|_| ChannelError::Stranger)?;
    let answer = keys.of_dialled.seal(LABEL, &mut []);
    Ok((answer, Sealer(keys.of_dialled), Opener::new(keys.of_dialler)))
}

fn psk(call: &Call) -> Result<PskBundle<'_>, ChannelError> {
    PskBundle::new(call.token.as_ref(), &call.call).map_err(|_| ChannelError::Key)
}

/// Keys of both directions.
struct Keys {
    of_dialler: Direction,
    of_dialled: Direction,
}

impl Keys {
    fn export(export: impl Fn(&[u8], &mut [u8]) -> Result<(), HpkeError>) -> Result<Self, ChannelError> {
        let direction = |name: &[u8]| {
            let mut secret = Zeroizing::new([0; 32 + Direction::NONCE_BYTES]);
            export(name, secret.as_mut()).map_err(|_| ChannelError::Key)?;
            Ok(Direction::new(&secret))
        };
        Ok(Keys { of_dialler: direction(b"dialler")?, of_dialled: direction(b"dialled")? })
    }
}

/// One direction: each record has the next number.
struct Direction {
    cipher: ChaCha20Poly1305,
    first: [u8; Self::NONCE_BYTES],
    next: u64,
}

impl Direction {
    const NONCE_BYTES: usize = 12;

    fn new(secret: &[u8; 32 + Self::NONCE_BYTES]) -> Self {
        let (key, nonce) = secret.split_at(32);
        let key = Key::try_from(key).expect("the key is of 32 bytes");
        let first = nonce.try_into().expect("the nonce is of 12 bytes");
        Direction { cipher: ChaCha20Poly1305::new(&key), first, next: 0 }
    }

    fn nonce(&mut self) -> Nonce {
        let mut nonce = self.first;
        for (byte, count) in nonce[4..].iter_mut().zip(self.next.to_be_bytes()) {
            *byte ^= count;
        }
        self.next = self.next.checked_add(1).expect("no channel lives for 2^64 records");
        nonce.into()
    }

    /// Seals in place; gives the tag.
    fn seal(&mut self, authenticated: &[u8], bytes: &mut [u8]) -> [u8; TAG_BYTES] {
        let nonce = self.nonce();
        let tag = self.cipher.encrypt_inout_detached(&nonce, authenticated, bytes.into());
        tag.expect("a record is short enough for the cipher").into()
    }

    /// Opens in place.
    fn open(
        &mut self,
        authenticated: &[u8],
        bytes: &mut [u8],
        tag: &[u8; TAG_BYTES],
    ) -> Result<(), ChannelError> {
        let nonce = self.nonce();
        let tag = Tag::from(*tag);
        let opened = self.cipher.decrypt_inout_detached(&nonce, authenticated, bytes.into(), &tag);
        opened.map_err(|_| ChannelError::Record)
    }
}

/// Turns bytes into records.
pub struct Sealer(Direction);

impl Sealer {
    /// Appends `plaintext` to `out` as records; nothing for nothing.
    pub fn seal(&mut self, plaintext: &[u8], out: &mut Vec<u8>) {
        for part in plaintext.chunks(MAX_RECORD_BYTES) {
            let length = u16::try_from(part.len() + TAG_BYTES).expect("a record's length fits 16 bits");
            let header = length.to_be_bytes();
            out.extend_from_slice(&header);
            let start = out.len();
            out.extend_from_slice(part);
            let tag = self.0.seal(&header, &mut out[start..]);
            out.extend_from_slice(&tag);
        }
    }
}

/// Turns records back into bytes. It holds less than one record beside what it was given last.
pub struct Opener {
    direction: Direction,
    /// What has come of the next record.
    partial: Vec<u8>,
    lost: Option<ChannelError>,
}

impl Opener {
    fn new(direction: Direction) -> Self {
        Opener { direction, partial: Vec::new(), lost: None }
    }

    /// Takes bytes as they came and appends the plaintext of the records that are whole. After an error nothing opens.
    pub fn open(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ChannelError> {
        if let Some(error) = self.lost {
            return Err(error);
        }
        self.partial.extend_from_slice(bytes);
        let opened = self.open_whole(out);
        self.lost = opened.err();
        opened
    }

    /// Whether the last record has come whole: an end of the channel here cuts none off.
    pub fn at_boundary(&self) -> bool {
        self.partial.is_empty() && self.lost.is_none()
    }

    fn open_whole(&mut self, out: &mut Vec<u8>) -> Result<(), ChannelError> {
        let mut taken = 0;
        while let Some((header, rest)) = self.partial[taken..].split_first_chunk::<HEADER_BYTES>() {
            let length = usize::from(u16::from_be_bytes(*header));
            if !(TAG_BYTES + 1..=MAX_RECORD_BYTES + TAG_BYTES).contains(&length) {
                return Err(ChannelError::Length);
            }
            let Some((ciphertext, tag)) = rest.get(..length).and_then(|record| record.split_last_chunk())
            else {
                break;
            };
            let start = out.len();
            out.extend_from_slice(ciphertext);
            if let Err(error) = self.direction.open(header, &mut out[start..], tag) {
                // Nothing that was not authenticated leaves.
                out.truncate(start);
                return Err(error);
            }
            taken += HEADER_BYTES + length;
        }
        self.partial.drain(..taken);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> GuestKey {
        GuestKey::derive(&[seed; 32])
    }

    fn call(seed: u8) -> Call {
        Call { call: [seed; CALL_BYTES], token: Zeroizing::new([seed; TOKEN_BYTES]) }
    }

    /// Both ends of a channel: (dialler, dialled).
    fn connected() -> ((Sealer, Opener), (Sealer, Opener)) {
        let (opening, dialled) = dial(&call(1), &key(1).public_bytes()).unwrap();
        let (answer, sealer, opener) = accept(&key(1), &call(1), &opening).unwrap();
        (dialled.answered(&answer).unwrap(), (sealer, opener))
    }

    #[test]
    fn bytes_travel_both_ways_at_any_split() {
        let ((mut one, mut ones), (mut other, mut others)) = connected();
        let long: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        for (sealer, opener) in [(&mut one, &mut others), (&mut other, &mut ones)] {
            let mut sealed = Vec::new();
            sealer.seal(b"short", &mut sealed);
            sealer.seal(b"", &mut sealed);
            sealer.seal(&long, &mut sealed);
            let mut out = Vec::new();
            for piece in sealed.chunks(7) {
                opener.open(piece, &mut out).unwrap();
            }
            assert!(out == [b"short".as_slice(), &long].concat());
            assert!(opener.at_boundary());
        }
    }

    #[test]
    fn an_opening_is_for_one_call_one_token_and_one_key() {
        let (opening, _) = dial(&call(1), &key(1).public_bytes()).unwrap();
        let refused = |key: GuestKey, call: Call| accept(&key, &call, &opening).err();
        assert_eq!(refused(key(1), call(1)), None);
        assert_eq!(refused(key(2), call(1)), Some(ChannelError::Stranger), "another key");
        assert_eq!(refused(key(1), call(2)), Some(ChannelError::Stranger), "another call");
        let token = Zeroizing::new([2; TOKEN_BYTES]);
        assert_eq!(refused(key(1), Call { token, ..call(1) }), Some(ChannelError::Stranger), "another token");
    }

    #[test]
    fn any_changed_byte_of_an_opening_is_refused() {
        let (opening, _) = dial(&call(1), &key(1).public_bytes()).unwrap();
        for at in 0..OPENING_BYTES {
            let mut changed = opening;
            changed[at] ^= 1;
            assert!(accept(&key(1), &call(1), &changed).is_err(), "byte {at}");
        }
    }

    #[test]
    fn an_answer_is_that_of_the_dialled_party() {
        let (opening, dialled) = dial(&call(1), &key(1).public_bytes()).unwrap();
        let (mut answer, ..) = accept(&key(1), &call(1), &opening).unwrap();
        answer[0] ^= 1;
        assert_eq!(dialled.answered(&answer).err(), Some(ChannelError::Stranger));
        let (_, another) = dial(&call(1), &key(1).public_bytes()).unwrap();
        answer[0] ^= 1;
        assert_eq!(
            another.answered(&answer).err(),
            Some(ChannelError::Stranger),
            "an answer to another opening"
        );
    }

    #[test]
    fn changed_repeated_missing_and_swapped_records_are_refused() {
        type Change = fn(&[u8], &[u8]) -> Vec<u8>;
        let changes: [(&str, Change); 6] = [
            ("a bit of the content", |one, two| [&flip(one, HEADER_BYTES)[..], two].concat()),
            ("a bit of the tag", |one, two| [&flip(one, one.len() - 1)[..], two].concat()),
            ("repeated", |one, two| [one, one, two].concat()),
            ("left out", |_, two| two.to_vec()),
            ("swapped", |one, two| [two, one].concat()),
            ("a length", |one, two| [&[0, 17], &one[HEADER_BYTES..], two].concat()),
        ];
        for (name, change) in changes {
            let ((mut sealer, _), (_, mut opener)) = connected();
            let (mut one, mut two) = (Vec::new(), Vec::new());
            sealer.seal(b"first record", &mut one);
            sealer.seal(b"second record", &mut two);
            let mut out = Vec::new();
            assert_eq!(opener.open(&change(&one, &two), &mut out), Err(ChannelError::Record), "{name}");
            assert!(out.is_empty() || out == b"first record", "{name}");
            assert_eq!(
                opener.open(&one, &mut Vec::new()),
                Err(ChannelError::Record),
                "{name}: it stays lost"
            );
        }
    }

    #[test]
    fn impossible_lengths_are_refused_before_their_bytes_come() {
        for length in [0, TAG_BYTES, MAX_RECORD_BYTES + TAG_BYTES + 1] {
            let (_, (_, mut opener)) = connected();
            let header = (length as u16).to_be_bytes();
            assert_eq!(opener.open(&header, &mut Vec::new()), Err(ChannelError::Length), "{length}");
        }
    }

    #[test]
    fn a_record_does_not_open_in_the_other_direction() {
        let ((mut sealer, mut own), _) = connected();
        let mut sealed = Vec::new();
        sealer.seal(b"to the other", &mut sealed);
        assert_eq!(own.open(&sealed, &mut Vec::new()), Err(ChannelError::Record));
    }

    #[test]
    fn a_key_of_small_order_is_refused() {
        assert_eq!(dial(&call(1), &[0; 32]).err(), Some(ChannelError::Key));
    }

    fn flip(record: &[u8], at: usize) -> Vec<u8> {
        let mut record = record.to_vec();
        record[at] ^= 1;
        record
    }
}
