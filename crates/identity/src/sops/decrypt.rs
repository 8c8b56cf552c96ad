//! Decrypting a SOPS file: data key, MAC over everything, values.

use std::io::Read;

use aes_gcm::aead::consts::U32;
use aes_gcm::aead::{Aead, KeyInit, Payload};
use aes_gcm::aes::Aes256;
use aes_gcm::{AesGcm, Nonce};
use age::Identity;
use base64ct::{Base64, Encoding};
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

use super::document::{Document, Form, Metadata, Node};
use super::shamir;

/// What the hash of a MAC over encrypted values alone begins with: SHA-256 of `sops`.
const ONLY_ENCRYPTED: [u8; 32] = [
    0x8a, 0x3f, 0xd2, 0xad, 0x54, 0xce, 0x66, 0x52, 0x7b, 0x10, 0x34, 0xf3, 0xd1, 0x47, 0xbe, 0x0b, 0x0b,
    0x97, 0x5b, 0x3b, 0xf4, 0x4f, 0x72, 0xc6, 0xfd, 0xad, 0xec, 0x81, 0x76, 0xf2, 0x7d, 0x69,
];

/// Why a file was not decrypted. No message holds a value.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum SopsError {
    /// It is no file of SOPS.
    #[error("it is not encrypted by SOPS")]
    NotSops,
    /// It is not in a form that is read here.
    #[error("{0}")]
    Malformed(String),
    /// None of the identities unwraps the data key.
    #[error("no age identity of the broker is among its recipients")]
    NoKey,
    /// A value was changed or moved.
    #[error("the value of `{0}` was changed or moved")]
    Value(String),
    /// The MAC does not hold.
    #[error("its MAC does not hold: a value was changed, added, removed or reordered")]
    Mac,
}

/// A value with the names on its way, joined by `.`.
pub struct Decrypted {
    /// Such as `database.password`, or `hosts.0` in a list.
    pub name: String,
    /// Its bytes; `None` where nothing authenticates it, since the file's MAC covers encrypted values alone.
    pub value: Option<Zeroizing<Vec<u8>>>,
}

/// Decrypts a file whole. `name` tells its form by its ending.
pub fn decrypt(
    name: &str,
    text: &str,
    identities: &[Box<dyn Identity + Send + Sync>],
) -> Result<Vec<Decrypted>, SopsError> {
    let Document { tree, metadata } = Form::of(name).parse(text)?;
    let mut walk = Walk {
        key: data_key(&metadata, identities)?,
        hash: Sha512::new(),
        only_encrypted: metadata.mac_only_encrypted,
        found: Vec::new(),
    };
    if metadata.mac_only_encrypted {
        walk.hash.update(ONLY_ENCRYPTED);
    }
    walk.members(&tree, &Place::default())?;
    let sealed = Sealed::parse(&metadata.mac).ok_or(SopsError::Mac)?;
    let mac = sealed.open(&walk.key, &metadata.last_modified).ok_or(SopsError::Mac)?;
    let computed: String = walk.hash.finalize().iter().map(|byte| format!("{byte:02X}")).collect();
    if computed.as_bytes() == mac.as_slice() { Ok(walk.found) } else { Err(SopsError::Mac) }
}

/// Names in a file, without decrypting it.
pub fn names(name: &str, text: &str) -> Result<Vec<String>, SopsError> {
    fn walk(node: &Node, name: &str, found: &mut Vec<String>) {
        match node {
            Node::Map(members) => members.iter().for_each(|(key, node)| walk(node, &join(name, key), found)),
            Node::List(items) => {
                items
                    .iter()
                    .enumerate()
                    .for_each(|(at, node)| walk(node, &join(name, &at.to_string()), found));
            }
            Node::Null => {}
            _ => found.push(name.to_owned()),
        }
    }
    let mut found = Vec::new();
    walk(&Node::Map(Form::of(name).parse(text)?.tree), "", &mut found);
    Ok(found)
}

/// When a file was last changed, RFC 3339.
pub fn last_modified(name: &str, text: &str) -> Option<String> {
    Some(Form::of(name).parse(text).ok()?.metadata.last_modified)
}

fn join(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

struct Walk {
    key: Zeroizing<Vec<u8>>,
    hash: Sha512,
    only_encrypted: bool,
    found: Vec<Decrypted>,
}

/// Where a value is: its name, and what its encryption is bound to, in which indices of lists do not occur.
#[derive(Default)]
struct Place {
    name: String,
    bound: String,
}

impl Walk {
    fn members(&mut self, members: &[(String, Node)], place: &Place) -> Result<(), SopsError> {
        members.iter().try_for_each(|(key, node)| {
            let place = Place { name: join(&place.name, key), bound: format!("{}{key}:", place.bound) };
            self.node(node, &place)
        })
    }

    fn node(&mut self, node: &Node, place: &Place) -> Result<(), SopsError> {
        match node {
            Node::Map(members) => self.members(members, place),
            Node::List(items) => items.iter().enumerate().try_for_each(|(at, item)| {
                let place = Place { name: join(&place.name, &at.to_string()), bound: place.bound.clone() };
                self.node(item, &place)
            }),
            Node::Null => Ok(()),
            Node::Text(text) => match Sealed::parse(text) {
                Some(sealed) => self.sealed(&sealed, place),
                None => self.plain(text.as_bytes(), text.as_bytes(), place),
            },
            Node::Int(number) => {
                let text = number.to_string();
                self.plain(text.as_bytes(), text.as_bytes(), place)
            }
            Node::Float(number) => {
                let text = number.to_string();
                self.plain(text.as_bytes(), text.as_bytes(), place)
            }
            Node::Bool(truth) => {
                let hashed: &[u8] = if *truth { b"True" } else { b"False" };
                self.plain(hashed, truth.to_string().as_bytes(), place)
            }
        }
    }

    fn sealed(&mut self, sealed: &Sealed<'_>, place: &Place) -> Result<(), SopsError> {
        let value = sealed.open(&self.key, &place.bound);
        let value = value.ok_or_else(|| SopsError::Value(place.name.clone()))?;
        self.hash.update(value.as_slice());
        let value = match (sealed.kind, value.as_slice()) {
            ("bool", b"True") => Zeroizing::new(b"true".to_vec()),
            ("bool", b"False") => Zeroizing::new(b"false".to_vec()),
            _ => value,
        };
        self.found.push(Decrypted { name: place.name.clone(), value: Some(value) });
        Ok(())
    }

    fn plain(&mut self, hashed: &[u8], value: &[u8], place: &Place) -> Result<(), SopsError> {
        // SOPS leaves the empty text as it is, whether it is to be encrypted or not.
        let authentic = !self.only_encrypted || value.is_empty();
        if !self.only_encrypted {
            self.hash.update(hashed);
        }
        let value = authentic.then(|| Zeroizing::new(value.to_vec()));
        self.found.push(Decrypted { name: place.name.clone(), value });
        Ok(())
    }
}

/// `ENC[AES256_GCM,data:…,iv:…,tag:…,type:…]`.
struct Sealed<'a> {
    data: Vec<u8>,
    nonce: Vec<u8>,
    tag: Vec<u8>,
    kind: &'a str,
}

impl<'a> Sealed<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let inner = text.strip_prefix("ENC[AES256_GCM,data:")?.strip_suffix(']')?;
        let (data, inner) = inner.split_once(",iv:")?;
        let (nonce, inner) = inner.split_once(",tag:")?;
        let (tag, kind) = inner.split_once(",type:")?;
        let bytes = |text: &str| Base64::decode_vec(text).ok();
        Some(Sealed { data: bytes(data)?, nonce: bytes(nonce)?, tag: bytes(tag)?, kind })
    }

    fn open(&self, key: &[u8], bound: &str) -> Option<Zeroizing<Vec<u8>>> {
        if self.nonce.len() != 32 || self.tag.len() != 16 {
            return None;
        }
        let cipher = AesGcm::<Aes256, U32>::new_from_slice(key).ok()?;
        let message = [self.data.as_slice(), &self.tag].concat();
        let payload = Payload { msg: &message, aad: bound.as_bytes() };
        cipher.decrypt(Nonce::from_slice(&self.nonce), payload).ok().map(Zeroizing::new)
    }
}

fn data_key(
    metadata: &Metadata,
    identities: &[Box<dyn Identity + Send + Sync>],
) -> Result<Zeroizing<Vec<u8>>, SopsError> {
    let mut parts = Vec::new();
    for group in metadata.age.iter().take(64) {
        parts.extend(group.iter().take(64).find_map(|wrapped| unwrap(wrapped, identities)));
        if metadata.age.len() > 1 && parts.len() == metadata.shamir_threshold {
            break;
        }
    }
    let key = match metadata.age.len() {
        1 => parts.pop(),
        _ if parts.len() < metadata.shamir_threshold => None,
        _ => shamir::combine(&parts),
    };
    key.filter(|key| key.len() == 32).ok_or(SopsError::NoKey)
}

fn unwrap(wrapped: &str, identities: &[Box<dyn Identity + Send + Sync>]) -> Option<Zeroizing<Vec<u8>>> {
    let armored = age::armor::ArmoredReader::new(wrapped.as_bytes());
    let decryptor = age::Decryptor::new_buffered(std::io::BufReader::new(armored)).ok()?;
    let identities = identities.iter().map(|identity| identity.as_ref() as &dyn Identity);
    let mut key = Zeroizing::new(Vec::with_capacity(64));
    decryptor.decrypt(identities).ok()?.take(64).read_to_end(&mut key).ok()?;
    Some(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLES: [(&str, &str); 4] = [
        (
            "a.yaml",
            "a: ENC[AES256_GCM,data:9g==,iv:mDGk8FMdjfL18ODspyFigYreATBsM5ePp5i3eFBC57I=,tag:Icd+87blPbXhxgGzW0O95A==,type:str]\n\
             n: -0x1F\nl: [1.5e3, {x: ~}, \"q\"]\nsops:\n  age:\n    - enc: |\n        x\n  shamir_threshold: 2\n  \
             mac: ENC[AES256_GCM,data:,iv:,tag:,type:str]\n  lastmodified: \"2026\"\n",
        ),
        (
            "a.json",
            "{\"a\": [1, -2.5, true, null, \"ü\"], \"sops\": {\"mac\": \"m\", \"lastmodified\": \"t\", \"key_groups\": [{}]}}",
        ),
        ("a.env", "A=1\n#c\nsops_age__list_0__map_enc=x\\ny\nsops_mac=m\nsops_lastmodified=t\n"),
        ("a.ini", "[s]\nk = \"v\"\n[sops]\nage__list_0__map_enc = x\nmac = m\nlastmodified = t\n"),
    ];

    /// What anybody may have written into a file ends in an answer or a refusal. The sequence is fixed, so that a failure can be
    /// had again.
    #[test]
    fn no_file_is_a_panic() {
        let identity: Vec<Box<dyn Identity + Send + Sync>> =
            vec![Box::new(age::x25519::Identity::generate())];
        let mut random = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = |limit: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % limit as u64) as usize
        };
        for (name, sample) in SAMPLES {
            assert!(names(name, sample).is_ok(), "{name}: {:?}", names(name, sample).err());
            for _ in 0..5_000 {
                let mut bytes = sample.as_bytes().to_vec();
                for _ in 0..=next(4) {
                    let at = next(bytes.len());
                    match next(4) {
                        0 => bytes[at] = next(256) as u8,
                        1 => drop(bytes.remove(at)),
                        2 => bytes.insert(at, b" \n:,{}[]\"'-|>#&*=_0"[next(19)]),
                        _ => {
                            let end = (at + next(40)).min(bytes.len());
                            bytes.extend_from_within(at..end);
                        }
                    }
                }
                let text = String::from_utf8_lossy(&bytes);
                // Both ways in; either result is right.
                let _ = (names(name, &text), decrypt(name, &text, &identity).map(drop));
            }
        }
    }
}
