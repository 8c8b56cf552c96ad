//! What is inside a sealed message: the secrets and plain settings of one identity for one step, in a compact encoding of
//! its own, so that no general serialiser leaves copies behind.
//!
//! ```text
//! payload = version:u8 (1) count:u16 entry*        integers are big-endian
//! entry   = kind:u8 delivery:u8 name target value  kind: 0 setting, 1 secret
//! name    = length:u8 bytes                        UTF-8
//! target  = length:u16 bytes                       empty for delivery 0
//! value   = length:u32 bytes
//! ```
//! Delivery 0 is the environment. 1 (a file, `target` its path) and 2 (a descriptor) are kept for later; a guest that does not
//! know a delivery refuses the message, since a step without a value it was promised must not start.

use zeroize::Zeroizing;

const VERSION: u8 = 1;

/// Most entries of a payload.
pub const MAX_ENTRIES: usize = 1024;
/// Longest name, bytes.
pub const MAX_NAME_BYTES: usize = 128;
/// Longest value, bytes: half of what Linux takes for one environment string.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;
/// Longest encoded payload, bytes: sealed and in base64url it fits one guest frame (256 KiB) beside the rest of it.
pub const MAX_PAYLOAD_BYTES: usize = 128 * 1024;

/// Why an entry or an encoding was refused. No message holds a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayloadError {
    /// The name cannot be an environment variable's.
    #[error(
        "`{0}` cannot name an environment variable: use 1 to 128 letters, digits and `_`, not beginning with a digit"
    )]
    Name(String),
    /// The value holds a NUL byte, which the environment cannot carry.
    #[error("the value of `{0}` holds a NUL byte, which the environment cannot carry")]
    Nul(String),
    /// The value is too long.
    #[error("the value of `{0}` is longer than 64 KiB")]
    ValueTooLong(String),
    /// The name is there already.
    #[error("`{0}` is there twice")]
    Repeated(String),
    /// Too many entries, or too many bytes together.
    #[error("more than 1024 entries or 128 KiB in one identity")]
    TooLarge,
    /// The bytes are not a payload of this version.
    #[error("the payload is malformed: {0}")]
    Malformed(&'static str),
}

/// Whether an entry is secret (redacted from output, never shown) or a plain setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A plain setting, such as a host name.
    Setting,
    /// A secret.
    Secret,
}

/// How an entry reaches the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Delivery {
    /// As a variable of the step's environment.
    Environment,
}

/// One value with its name. It has no `Debug`; the value is wiped when dropped.
#[derive(Clone)]
pub struct Entry {
    kind: Kind,
    delivery: Delivery,
    name: String,
    value: Zeroizing<Vec<u8>>,
}

impl Entry {
    /// An entry for the environment.
    pub fn environment(kind: Kind, name: &str, value: Zeroizing<Vec<u8>>) -> Result<Self, PayloadError> {
        if !is_environment_name(name) {
            return Err(PayloadError::Name(name.chars().take(MAX_NAME_BYTES).collect()));
        }
        if value.contains(&0) {
            return Err(PayloadError::Nul(name.into()));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(PayloadError::ValueTooLong(name.into()));
        }
        Ok(Entry { kind, delivery: Delivery::Environment, name: name.into(), value })
    }

    /// Secret or setting.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// How it reaches the step.
    pub fn delivery(&self) -> Delivery {
        self.delivery
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value. Keep copies in [`Zeroizing`].
    pub fn value(&self) -> &[u8] {
        &self.value
    }
}

/// Whether `name` can name an environment variable (POSIX, without the exotic).
pub fn is_environment_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    name.len() <= MAX_NAME_BYTES
        && bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// The entries for one step. It has no `Debug`, `Display` or `Serialize`; values are wiped when it is dropped.
#[derive(Clone, Default)]
pub struct Payload {
    entries: Vec<Entry>,
}

impl Payload {
    /// Without entries.
    pub fn new() -> Self {
        Payload::default()
    }

    /// Adds an entry; names are unique.
    pub fn push(&mut self, entry: Entry) -> Result<(), PayloadError> {
        if self.entries.iter().any(|other| other.name == entry.name) {
            return Err(PayloadError::Repeated(entry.name.clone()));
        }
        if self.entries.len() == MAX_ENTRIES
            || self.encoded_len() + encoded_entry_len(&entry) > MAX_PAYLOAD_BYTES
        {
            return Err(PayloadError::TooLarge);
        }
        self.entries.push(entry);
        Ok(())
    }

    /// The entries in the order in which they were added.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The encoding, wiped when dropped; allocated once, so that no smaller copy stays behind.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        let mut out = Zeroizing::new(Vec::with_capacity(self.encoded_len()));
        out.push(VERSION);
        out.extend_from_slice(&(self.entries.len() as u16).to_be_bytes());
        for entry in &self.entries {
            out.push(match entry.kind {
                Kind::Setting => 0,
                Kind::Secret => 1,
            });
            out.push(match entry.delivery {
                Delivery::Environment => 0,
            });
            out.push(entry.name.len() as u8);
            out.extend_from_slice(entry.name.as_bytes());
            out.extend_from_slice(&0u16.to_be_bytes());
            out.extend_from_slice(&(entry.value.len() as u32).to_be_bytes());
            out.extend_from_slice(&entry.value);
        }
        out
    }

    /// Reads an encoding; everything is checked as [`Entry::environment`] and [`Payload::push`] check it.
    pub fn decode(mut bytes: &[u8]) -> Result<Self, PayloadError> {
        if bytes.len() > MAX_PAYLOAD_BYTES {
            return Err(PayloadError::TooLarge);
        }
        if take(&mut bytes, 1)? != [VERSION] {
            return Err(PayloadError::Malformed("another version: update the guest's image"));
        }
        let count = take_length(&mut bytes, 2)?;
        let mut payload = Payload::new();
        for _ in 0..count {
            let kind = match take(&mut bytes, 1)? {
                [0] => Kind::Setting,
                [1] => Kind::Secret,
                _ => return Err(PayloadError::Malformed("an unknown kind")),
            };
            if take(&mut bytes, 1)? != [0] {
                return Err(PayloadError::Malformed("a delivery that this guest does not know"));
            }
            let name_bytes = take_length(&mut bytes, 1)?;
            let name = std::str::from_utf8(take(&mut bytes, name_bytes)?)
                .map_err(|_| PayloadError::Malformed("a name is not UTF-8"))?;
            if take_length(&mut bytes, 2)? != 0 {
                return Err(PayloadError::Malformed("a target where there is none"));
            }
            let value_bytes = take_length(&mut bytes, 4)?;
            let value = Zeroizing::new(take(&mut bytes, value_bytes)?.to_vec());
            payload.push(Entry::environment(kind, name, value)?)?;
        }
        if bytes.is_empty() { Ok(payload) } else { Err(PayloadError::Malformed("bytes after the end")) }
    }

    fn encoded_len(&self) -> usize {
        3 + self.entries.iter().map(encoded_entry_len).sum::<usize>()
    }
}

fn encoded_entry_len(entry: &Entry) -> usize {
    9 + entry.name.len() + entry.value.len()
}

fn take<'a>(bytes: &mut &'a [u8], count: usize) -> Result<&'a [u8], PayloadError> {
    let (head, rest) = bytes.split_at_checked(count).ok_or(PayloadError::Malformed("it ends early"))?;
    *bytes = rest;
    Ok(head)
}

fn take_length(bytes: &mut &[u8], width: usize) -> Result<usize, PayloadError> {
    Ok(take(bytes, width)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, name: &str, value: &[u8]) -> Entry {
        Entry::environment(kind, name, Zeroizing::new(value.to_vec())).ok().unwrap()
    }

    fn sample() -> Payload {
        let mut payload = Payload::new();
        payload.push(entry(Kind::Secret, "DATABASE_URL", b"postgres://u:p@db/x")).unwrap();
        payload.push(entry(Kind::Setting, "REGION", b"eu-central-1")).unwrap();
        payload.push(entry(Kind::Secret, "EMPTY", b"")).unwrap();
        payload.push(entry(Kind::Secret, "BYTES", &[0xff, 0x80])).unwrap();
        payload
    }

    fn same(a: &Payload, b: &Payload) -> bool {
        let view = |p: &Payload| -> Vec<_> {
            p.entries.iter().map(|e| (e.kind, e.delivery, e.name.clone(), e.value.to_vec())).collect()
        };
        view(a) == view(b)
    }

    #[test]
    fn encodes_as_documented() {
        let mut payload = Payload::new();
        payload.push(entry(Kind::Secret, "A", b"xy")).unwrap();
        assert_eq!(payload.encode().as_slice(), b"\x01\x00\x01\x01\x00\x01A\x00\x00\x00\x00\x00\x02xy");
    }

    #[test]
    fn decodes_what_it_encodes_in_one_allocation() {
        let encoded = sample().encode();
        assert_eq!(encoded.len(), sample().encoded_len());
        assert!(same(&Payload::decode(&encoded).ok().unwrap(), &sample()));
    }

    #[test]
    fn every_truncation_and_extension_is_refused() {
        let encoded = sample().encode();
        for end in 0..encoded.len() {
            assert!(Payload::decode(&encoded[..end]).is_err(), "{end}");
        }
        assert!(Payload::decode(&[&encoded[..], b"x"].concat()).is_err());
    }

    #[test]
    fn unknown_delivery_kind_and_version_are_refused() {
        for (at, value) in [(0, 2), (3, 2), (4, 1)] {
            let mut encoded = sample().encode();
            encoded[at] = value;
            assert!(matches!(Payload::decode(&encoded), Err(PayloadError::Malformed(_))));
        }
    }

    #[test]
    fn names_and_values_that_the_environment_cannot_carry_are_refused() {
        let value = || Zeroizing::new(b"v".to_vec());
        for name in ["", "1A", "A-B", "A=B", "Ä", "A B", &"A".repeat(129)] {
            assert!(
                matches!(Entry::environment(Kind::Secret, name, value()), Err(PayloadError::Name(_))),
                "{name}"
            );
        }
        let nul = Entry::environment(Kind::Secret, "A", Zeroizing::new(b"a\0b".to_vec()));
        assert!(matches!(nul, Err(PayloadError::Nul(_))));
        let long = Entry::environment(Kind::Secret, "A", Zeroizing::new(vec![b'a'; MAX_VALUE_BYTES + 1]));
        assert!(matches!(long, Err(PayloadError::ValueTooLong(_))));
    }

    #[test]
    fn repeated_names_and_too_much_are_refused() {
        let mut payload = sample();
        assert!(matches!(payload.push(entry(Kind::Setting, "REGION", b"x")), Err(PayloadError::Repeated(_))));
        let fits = (0..20).take_while(|n| {
            payload.push(entry(Kind::Secret, &format!("BIG_{n}"), &vec![b'a'; MAX_VALUE_BYTES])).is_ok()
        });
        assert_eq!(fits.count(), 1);
        assert!(payload.encode().len() <= MAX_PAYLOAD_BYTES);
    }
}
