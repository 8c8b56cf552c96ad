//! Whom the broker trusts: workers by the keys that the operator enrolled, and servers by their grant keys. Kept in `trust.json`,
//! replaced whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use seal::PublicKey;
use seal::grant::GrantVerifier;
use serde::{Deserialize, Serialize};

use crate::disk::{self, DiskError};

/// Most workers or servers.
pub const MAX_ENROLLED: usize = 10_000;
/// Longest name, bytes.
pub const MAX_NAME_BYTES: usize = 128;
const MAX_FILE_BYTES: u64 = 8 * 1024 * 1024;

/// Which of the two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// Workers: their tokens are accepted.
    Worker,
    /// Servers: their grants are accepted.
    Server,
}

/// A key under a name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enrolled {
    /// Ed25519 public key, 32 bytes, base64url.
    pub key: String,
    /// Since when: milliseconds since the Unix epoch.
    pub since_ms: i64,
}

/// Why the lists could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The file is damaged.
    #[error("{} is damaged: restore it, or remove it and enrol workers and servers again", .0.display())]
    Malformed(PathBuf),
    /// The key is none.
    #[error(transparent)]
    Key(#[from] seal::keys::KeyError),
    /// The name is empty, too long or not printable.
    #[error("a name has 1 to 128 printable ASCII characters without spaces")]
    Name,
    /// Another key has the name.
    #[error("`{0}` is there with another key: remove it first")]
    Exists(String),
    /// There is no such name.
    #[error("`{0}` is not there")]
    NotFound(String),
    /// Too many.
    #[error("at most 10000 workers and 10000 servers")]
    Full,
}

#[derive(Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Lists {
    workers: BTreeMap<String, Enrolled>,
    servers: BTreeMap<String, Enrolled>,
}

/// Both lists.
pub struct Trust {
    path: PathBuf,
    lists: Lists,
    workers: BTreeMap<String, PublicKey>,
    grants: GrantVerifier,
}

impl Trust {
    /// Reads `folder/trust.json`; empty where it is missing.
    pub fn open(folder: &Path) -> Result<Self, TrustError> {
        let path = folder.join("trust.json");
        let lists = match disk::read(&path, MAX_FILE_BYTES) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|_| TrustError::Malformed(path.clone()))?,
            Err(error) if error.is_missing() => Lists::default(),
            Err(error) => return Err(error.into()),
        };
        let mut trust = Trust { path, lists, workers: BTreeMap::new(), grants: GrantVerifier::default() };
        trust.index()?;
        Ok(trust)
    }

    /// The key of a worker.
    pub fn worker_key(&self, name: &str) -> Option<PublicKey> {
        self.workers.get(name).copied()
    }

    /// Verifies grants of the trusted servers.
    pub fn grants(&self) -> &GrantVerifier {
        &self.grants
    }

    /// One of the lists, sorted by name.
    pub fn list(&self, party: Party) -> &BTreeMap<String, Enrolled> {
        match party {
            Party::Worker => &self.lists.workers,
            Party::Server => &self.lists.servers,
        }
    }

    /// Checks that [`Trust::enrol`] would accept; returns whether it changes anything.
    pub fn check_enrol(&self, party: Party, name: &str, key: &str) -> Result<bool, TrustError> {
        if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.bytes().all(|byte| byte.is_ascii_graphic())
        {
            return Err(TrustError::Name);
        }
        PublicKey::from_text(key)?;
        match self.list(party).get(name) {
            Some(enrolled) if enrolled.key == key => Ok(false),
            Some(_) => Err(TrustError::Exists(name.into())),
            None if self.list(party).len() >= MAX_ENROLLED => Err(TrustError::Full),
            None => Ok(true),
        }
    }

    /// Adds a key; the same key again changes nothing.
    pub fn enrol(&mut self, party: Party, name: &str, key: &str, now_ms: i64) -> Result<(), TrustError> {
        if !self.check_enrol(party, name, key)? {
            return Ok(());
        }
        self.replace(|lists| {
            let enrolled = Enrolled { key: key.into(), since_ms: now_ms };
            of(lists, party).insert(name.into(), enrolled);
        })
    }

    /// Removes a key: nothing that it signed is accepted from now on.
    pub fn remove(&mut self, party: Party, name: &str) -> Result<(), TrustError> {
        if !self.list(party).contains_key(name) {
            return Err(TrustError::NotFound(name.into()));
        }
        self.replace(|lists| {
            of(lists, party).remove(name);
        })
    }

    fn replace(&mut self, change: impl FnOnce(&mut Lists)) -> Result<(), TrustError> {
        let mut lists = self.lists.clone();
        change(&mut lists);
        let text = serde_json::to_string_pretty(&lists).expect("strings and integers serialise");
        disk::replace(&self.path, text.as_bytes())?;
        self.lists = lists;
        self.index()
    }

    fn index(&mut self) -> Result<(), TrustError> {
        let key = |enrolled: &Enrolled| PublicKey::from_text(&enrolled.key);
        let workers = self.lists.workers.iter().map(|(name, enrolled)| Ok((name.clone(), key(enrolled)?)));
        self.workers = workers.collect::<Result<_, TrustError>>()?;
        self.grants =
            GrantVerifier::new(self.lists.servers.values().map(key).collect::<Result<Vec<_>, _>>()?);
        Ok(())
    }
}

fn of(lists: &mut Lists, party: Party) -> &mut BTreeMap<String, Enrolled> {
    match party {
        Party::Worker => &mut lists.workers,
        Party::Server => &mut lists.servers,
    }
}

#[cfg(test)]
mod tests {
    use seal::SigningKey;

    use super::*;

    #[test]
    fn enrolment_survives_and_a_name_keeps_its_key() {
        let folder = disk::test_folder();
        let key = |seed| SigningKey::from_seed(&[seed; 32]).public_key().to_string();
        let mut trust = Trust::open(folder.path()).unwrap();
        trust.enrol(Party::Worker, "w1", &key(1), 5).unwrap();
        trust.enrol(Party::Worker, "w1", &key(1), 6).unwrap();
        assert!(matches!(trust.enrol(Party::Worker, "w1", &key(2), 7), Err(TrustError::Exists(_))));
        assert!(matches!(trust.enrol(Party::Worker, "w 2", &key(2), 7), Err(TrustError::Name)));
        assert!(matches!(trust.enrol(Party::Worker, "w2", "short", 7), Err(TrustError::Key(_))));
        let mut trust = Trust::open(folder.path()).unwrap();
        assert_eq!(trust.worker_key("w1").unwrap().to_string(), key(1));
        trust.remove(Party::Worker, "w1").unwrap();
        assert!(Trust::open(folder.path()).unwrap().worker_key("w1").is_none());
    }
}
