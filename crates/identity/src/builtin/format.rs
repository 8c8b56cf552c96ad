//! The builtin file's content: canonical JSON (RFC 8785) with a MAC over all of it.
//!
//! ```json
//! { "format": "sagewai identity file", "version": 1, "file_id": "…", "counter": 7,
//!   "recipients": ["age1…", "age1…"], "data_key": "age file, base64",
//!   "identities": { "acme-prod": {
//!       "policy": { "allow": [ … ] }, "revoked": null, "views": { "reporting": ["DATABASE_URL"] },
//!       "keys": { "DATABASE_URL": { "secret": true, "version": 2, "updated_ms": 0, "value": "nonce, ciphertext, tag" } },
//!       "retired": {} } },
//!   "mac": "HMAC-SHA256 over the rest" }
//! ```

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::crypto::FileKeys;
use crate::audit::canonical::canonical;
use crate::policy::Policy;
use crate::reference::{IdentityName, IdentityRef, KeyName, ViewName};

/// `format` of every file.
pub const FORMAT: &str = "sagewai identity file";
/// `version` that this build reads and writes.
pub const VERSION: u32 = 1;
/// Longest file, bytes.
pub const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most identities of a file, and most guards of others.
pub const MAX_IDENTITIES: usize = 10_000;
/// Most views of an identity.
pub const MAX_VIEWS: usize = 256;

const MAC_LABEL: &str = "file";
const ANCHOR_LABEL: &str = "anchor";

/// The file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Content {
    /// [`FORMAT`].
    pub format: String,
    /// [`VERSION`].
    pub version: u32,
    /// 16 random bytes, base64url.
    pub file_id: String,
    /// Grows by one with each change.
    pub counter: u64,
    /// age recipients of the data key.
    pub recipients: Vec<String>,
    /// The data key, wrapped by age, base64.
    pub data_key: String,
    /// The identities.
    pub identities: BTreeMap<IdentityName, Identity>,
    /// Who may use identities of other identity backends: kept here, since here it is protected against change.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub guards: BTreeMap<IdentityRef, Guard>,
    /// HMAC over the rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mac: Option<String>,
}

/// Who may use an identity of another identity backend.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guard {
    /// What may ask for it.
    pub policy: Policy,
    /// Set while it is revoked: no grant opens it.
    pub revoked: Option<Revocation>,
}

/// An identity.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Identity {
    /// What may ask for it.
    pub policy: Policy,
    /// Set while it is revoked: no grant opens it.
    pub revoked: Option<Revocation>,
    /// Named subsets of its keys.
    pub views: BTreeMap<ViewName, Vec<KeyName>>,
    /// Its keys.
    pub keys: BTreeMap<KeyName, Key>,
    /// Last versions of keys that were removed.
    pub retired: BTreeMap<KeyName, u64>,
}

/// That an identity is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Revocation {
    /// Since when: milliseconds since the Unix epoch.
    pub since_ms: i64,
    /// Why, as the operator wrote it.
    pub reason: String,
}

/// A key with its encrypted value.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Key {
    /// Secret, or a plain setting.
    pub secret: bool,
    /// Grows with each value, also across removal within the file's life.
    pub version: u64,
    /// When the value was set: milliseconds since the Unix epoch.
    pub updated_ms: i64,
    /// See [`FileKeys::encrypt`].
    pub value: String,
}

/// Why a file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// Not such a file, or cut off.
    #[error("it is not a whole identity file")]
    Malformed,
    /// Of a later build.
    #[error("it has version {0}; this build reads version 1")]
    Version(u32),
    /// The MAC does not hold.
    #[error("it was changed by something that does not hold its key")]
    Mac,
    /// The anchor speaks of another file, or was changed.
    #[error("its anchor was changed or is of another file")]
    Anchor,
    /// It is older than what was seen last.
    #[error("it is an older copy: it has counter {found}, but {expected} was written")]
    Rollback {
        /// Counter in the file.
        found: u64,
        /// Counter that it must have at least.
        expected: u64,
    },
}

impl Content {
    /// Reads a file without checking its MAC, which needs the data key that it holds.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let content: Content = serde_json::from_slice(bytes).map_err(|_| FormatError::Malformed)?;
        match (content.format.as_str(), content.version) {
            (FORMAT, VERSION) => Ok(content),
            (FORMAT, version) => Err(FormatError::Version(version)),
            _ => Err(FormatError::Malformed),
        }
    }

    /// Checks the MAC.
    pub fn check(&self, keys: &FileKeys) -> Result<(), FormatError> {
        let mac = self.mac.as_deref().ok_or(FormatError::Malformed)?;
        if keys.mac_holds(MAC_LABEL, self.text_without_mac().as_bytes(), mac) {
            Ok(())
        } else {
            Err(FormatError::Mac)
        }
    }

    /// The file's bytes, with a fresh MAC.
    pub fn sealed(&self, keys: &FileKeys) -> String {
        let mac = Some(keys.mac(MAC_LABEL, self.text_without_mac().as_bytes()));
        text_of(&Content { mac, ..self.clone() })
    }

    fn text_without_mac(&self) -> String {
        text_of(&Content { mac: None, ..self.clone() })
    }
}

/// The counter that was written last, kept beside the file so that an older copy of it is noticed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    file_id: String,
    counter: u64,
    mac: String,
}

impl Anchor {
    /// The anchor's bytes for a file.
    pub fn text(content: &Content, keys: &FileKeys) -> String {
        let mac = keys.mac(ANCHOR_LABEL, anchor_text(&content.file_id, content.counter).as_bytes());
        text_of(&Anchor { file_id: content.file_id.clone(), counter: content.counter, mac })
    }

    /// Checks a file against the anchor's bytes: it may be newer, since it is written first, but not older.
    pub fn check(bytes: &[u8], content: &Content, keys: &FileKeys) -> Result<(), FormatError> {
        let anchor: Anchor = serde_json::from_slice(bytes).map_err(|_| FormatError::Anchor)?;
        let text = anchor_text(&anchor.file_id, anchor.counter);
        if anchor.file_id != content.file_id || !keys.mac_holds(ANCHOR_LABEL, text.as_bytes(), &anchor.mac) {
            return Err(FormatError::Anchor);
        }
        not_older(content, anchor.counter)
    }
}

/// Whether the file's counter is `expected` or more.
pub fn not_older(content: &Content, expected: u64) -> Result<(), FormatError> {
    if content.counter >= expected {
        Ok(())
    } else {
        Err(FormatError::Rollback { found: content.counter, expected })
    }
}

fn anchor_text(file_id: &str, counter: u64) -> String {
    format!("{file_id}\n{counter}")
}

fn text_of<T: Serialize>(value: &T) -> String {
    canonical(value).expect("strings, booleans and counters below 2^53 have a canonical form")
}
