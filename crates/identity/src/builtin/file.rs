//! The builtin file, open and unlocked: one process holds its lock, reads from memory, and makes each change durable before it
//! is seen. A crash at any point leaves the file before or after the change.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::RwLock;

use base64ct::{Base64UrlUnpadded, Encoding};
use zeroize::Zeroizing;

use super::change::missing;
use super::crypto::{DATA_KEY_BYTES, FileKeys};
use super::format::{self, Anchor, Content, FormatError, Guard};
use super::read::decrypt_all;
use super::unlock::{self, OperatorKey, UnlockError};
use crate::disk::{self, DiskError, Lock};
use crate::policy::PolicyError;
use crate::reference::IdentityRef;

/// Name of the file in its folder.
pub const FILE: &str = "identities.json";
/// Name of the anchor beside it.
pub const ANCHOR_FILE: &str = "identities.counter";
const LOCK_FILE: &str = "identities.lock";

/// Why the file could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum BuiltinError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The key could not be had.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The file is damaged, was tampered with, or is an older copy.
    #[error(
        "the identity file is refused: {0}; restore it from a backup, or see the audit trail for what changed"
    )]
    Format(#[from] FormatError),
    /// The change was made, but not its counter.
    #[error(
        "the change was made, but its counter could not be recorded: an older copy would go unnoticed until the next change"
    )]
    Anchor(#[source] DiskError),
    /// A value does not decrypt at its place.
    #[error("the identity file is refused: the value of `{0}` was changed or moved")]
    Value(String),
    /// There is no such identity, view or key.
    #[error("{0} does not exist")]
    NotFound(String),
    /// It is there already.
    #[error("{0} exists already")]
    Exists(String),
    /// The values cannot be carried to a step.
    #[error(transparent)]
    Payload(#[from] seal::payload::PayloadError),
    /// The policy is refused.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// Too many.
    #[error("the identity file is full: {0}")]
    Limit(&'static str),
    /// No randomness.
    #[error("the operating system gave no randomness")]
    NoRandomness,
}

/// What [`BuiltinFile::set`] expects to find.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Expect {
    /// The key must not be there.
    New,
    /// The key must be there: a rotation.
    Existing,
    /// Either.
    Any,
}

/// The open file. It has no `Debug`.
pub struct BuiltinFile {
    folder: PathBuf,
    pub(super) state: RwLock<State>,
    _lock: Lock,
}

pub(super) struct State {
    pub(super) keys: FileKeys,
    pub(super) content: Content,
}

impl BuiltinFile {
    /// Makes a new file in `folder` with a new data key, wrapped to `recipients` (at least two), without identities.
    pub fn create(folder: &Path, recipients: &[String]) -> Result<Self, BuiltinError> {
        disk::private_folder(folder)?;
        let lock = disk::lock(&folder.join(LOCK_FILE))?;
        let data_key = random_data_key()?;
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|_| BuiltinError::NoRandomness)?;
        let content = Content {
            format: format::FORMAT.into(),
            version: format::VERSION,
            file_id: Base64UrlUnpadded::encode_string(&id),
            counter: 1,
            recipients: recipients.to_vec(),
            data_key: unlock::wrap(&data_key, recipients)?,
            identities: BTreeMap::new(),
            guards: BTreeMap::new(),
            mac: None,
        };
        let keys = FileKeys::derive(data_key, &content.file_id);
        disk::create(&folder.join(FILE), content.sealed(&keys).as_bytes())?;
        disk::replace(&folder.join(ANCHOR_FILE), Anchor::text(&content, &keys).as_bytes())?;
        Ok(BuiltinFile { folder: folder.into(), state: RwLock::new(State { keys, content }), _lock: lock })
    }

    /// Opens the file in `folder`: takes its lock, unwraps the data key, checks MAC, every value, and that it is no older than
    /// its anchor and than `at_least_counter` (0 where nothing is known).
    pub fn open(folder: &Path, key: &OperatorKey, at_least_counter: u64) -> Result<Self, BuiltinError> {
        disk::private_folder(folder)?;
        let lock = disk::lock(&folder.join(LOCK_FILE))?;
        let bytes = disk::read(&folder.join(FILE), format::MAX_FILE_BYTES)?;
        let content = Content::parse(&bytes)?;
        let keys = FileKeys::derive(unlock::unwrap(&content.data_key, key)?, &content.file_id);
        content.check(&keys)?;
        format::not_older(&content, at_least_counter)?;
        let anchor = disk::read(&folder.join(ANCHOR_FILE), 4096);
        match anchor {
            Ok(bytes) => Anchor::check(&bytes, &content, &keys)?,
            // The first counter is written before the first anchor; later the anchor may not be missing.
            Err(error) if error.is_missing() && content.counter == 1 => {}
            Err(error) if error.is_missing() => return Err(FormatError::Anchor.into()),
            Err(error) => return Err(error.into()),
        }
        for (name, identity) in &content.identities {
            decrypt_all(&keys, name, identity)?;
        }
        disk::replace(&folder.join(ANCHOR_FILE), Anchor::text(&content, &keys).as_bytes())?;
        Ok(BuiltinFile { folder: folder.into(), state: RwLock::new(State { keys, content }), _lock: lock })
    }

    /// Counter of the file; it grows with each change.
    pub fn counter(&self) -> u64 {
        self.read_state().content.counter
    }

    /// The recipients that can unlock the file.
    pub fn recipients(&self) -> Vec<String> {
        self.read_state().content.recipients.clone()
    }

    /// Policy and revocation of an identity of any identity backend; one of another that was given none has the policy that
    /// allows nothing.
    pub fn guard(&self, identity: &IdentityRef) -> Result<Guard, BuiltinError> {
        let content = &self.read_state().content;
        match identity.builtin_name() {
            None => Ok(content.guards.get(identity).cloned().unwrap_or_default()),
            Some(name) => {
                let found = content.identities.get(&name).ok_or_else(|| missing(&name))?;
                Ok(Guard { policy: found.policy.clone(), revoked: found.revoked.clone() })
            }
        }
    }

    /// The identities of other identity backends that have a policy or a revocation here, sorted.
    pub fn guarded(&self) -> Vec<IdentityRef> {
        self.read_state().content.guards.keys().cloned().collect()
    }

    /// Whether an identity of another identity backend has a policy or a revocation here.
    pub fn is_guarded(&self, identity: &IdentityRef) -> bool {
        self.read_state().content.guards.contains_key(identity)
    }

    pub(super) fn change<T>(
        &self,
        make: impl FnOnce(&FileKeys, &mut Content) -> Result<T, BuiltinError>,
    ) -> Result<T, BuiltinError> {
        let mut state = self.state.write().expect("no holder of this lock panics");
        let mut content = state.content.clone();
        content.counter += 1;
        let made = make(&state.keys, &mut content)?;
        self.write(&content, &state.keys)?;
        state.content = content;
        self.write_anchor(&state)?;
        Ok(made)
    }

    pub(super) fn write(&self, content: &Content, keys: &FileKeys) -> Result<(), BuiltinError> {
        Ok(disk::replace(&self.folder.join(FILE), content.sealed(keys).as_bytes())?)
    }

    /// After the file: a crash between them leaves a file that is newer than its anchor, which is fine.
    pub(super) fn write_anchor(&self, state: &State) -> Result<(), BuiltinError> {
        let text = Anchor::text(&state.content, &state.keys);
        disk::replace(&self.folder.join(ANCHOR_FILE), text.as_bytes()).map_err(BuiltinError::Anchor)
    }

    pub(super) fn read_state(&self) -> std::sync::RwLockReadGuard<'_, State> {
        self.state.read().expect("no holder of this lock panics")
    }
}

pub(super) fn random_data_key() -> Result<Zeroizing<[u8; DATA_KEY_BYTES]>, BuiltinError> {
    let mut data_key = Zeroizing::new([0; DATA_KEY_BYTES]);
    getrandom::fill(data_key.as_mut()).map_err(|_| BuiltinError::NoRandomness)?;
    Ok(data_key)
}

#[cfg(test)]
mod tests {
    use super::super::unlock::{Unlock, generate_identity};
    use super::*;
    use crate::backend::IdentityBackend;
    use crate::policy::Policy;
    use crate::reference::{IdentityName, KeyName};

    struct Place {
        folder: tempfile::TempDir,
        key: OperatorKey,
        recipients: Vec<String>,
    }

    impl Place {
        fn new() -> Self {
            let folder = disk::test_folder();
            let ((secret, operator), (_, recovery)) = (generate_identity(), generate_identity());
            let path = folder.path().join("operator.key");
            disk::create(&path, secret.as_bytes()).unwrap();
            let key = Unlock::KeyFile { path, passphrase: None }.operator_key().ok().unwrap();
            Place { folder, key, recipients: vec![operator, recovery] }
        }

        fn create(&self) -> BuiltinFile {
            BuiltinFile::create(self.folder.path(), &self.recipients)
                .unwrap_or_else(|error| panic!("{error:?}"))
        }

        fn open(&self) -> Result<BuiltinFile, BuiltinError> {
            BuiltinFile::open(self.folder.path(), &self.key, 0)
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join(FILE)
        }

        fn edit(&self, change: impl FnOnce(&mut serde_json::Value)) {
            let mut value = serde_json::from_slice(&std::fs::read(self.path()).unwrap()).unwrap();
            change(&mut value);
            std::fs::write(self.path(), serde_json::to_vec(&value).unwrap()).unwrap();
        }

        /// With the identity `acme` and the secrets `A` and `B`.
        fn with_two_secrets() -> Self {
            let place = Place::new();
            let file = place.create();
            file.create_identity(&acme(), Policy::any()).unwrap();
            for key in ["A", "B"] {
                set(&file, key, "value").unwrap();
            }
            place
        }

        fn refusal(&self) -> BuiltinError {
            self.open().err().expect("must be refused")
        }
    }

    fn acme() -> IdentityName {
        "acme".parse().unwrap()
    }

    fn set(file: &BuiltinFile, key: &str, value: &str) -> Result<u64, BuiltinError> {
        let value = Zeroizing::new(value.as_bytes().to_vec());
        file.set(&acme(), &key.parse().unwrap(), true, Expect::Any, value, 0)
    }

    async fn value_of(file: &BuiltinFile, key: &str) -> Option<Vec<u8>> {
        let reading = file.read(&(&acme()).into(), None, None).await.ok().unwrap();
        reading.entries.iter().find(|entry| entry.info.name.as_str() == key).map(|entry| entry.value.to_vec())
    }

    #[test]
    fn no_value_is_in_the_file() {
        let place = Place::new();
        let file = place.create();
        file.create_identity(&acme(), Policy::any()).unwrap();
        set(&file, "A", "canary-1234567890").unwrap();
        let text = std::fs::read_to_string(place.path()).unwrap();
        assert!(text.contains("\"A\"") && !text.contains("canary"));
    }

    #[test]
    fn edits_swaps_and_cuts_are_refused() {
        let changes: [fn(&mut serde_json::Value); 6] = [
            |file| file["counter"] = 99.into(),
            |file| file["identities"]["acme"]["policy"] = serde_json::json!({ "allow": [] }),
            |file| file["identities"]["acme"]["views"]["v"] = serde_json::json!(["A"]),
            |file| file["identities"]["acme"]["keys"]["A"] = file["identities"]["acme"]["keys"]["B"].clone(),
            |file| {
                file["identities"]["acme"]["keys"].as_object_mut().unwrap().remove("A");
            },
            |file| file["identities"]["copy"] = file["identities"]["acme"].clone(),
        ];
        for change in changes {
            let place = Place::with_two_secrets();
            assert!(place.open().is_ok());
            place.edit(change);
            assert!(matches!(place.refusal(), BuiltinError::Format(FormatError::Mac)));
        }
        let place = Place::with_two_secrets();
        let bytes = std::fs::read(place.path()).unwrap();
        std::fs::write(place.path(), &bytes[..bytes.len() / 2]).unwrap();
        assert!(matches!(place.refusal(), BuiltinError::Format(FormatError::Malformed)));
    }

    /// The second line of defence: even with a valid MAC a value does not decrypt in another place.
    #[test]
    fn a_swapped_value_is_refused_even_with_a_valid_mac() {
        let place = Place::with_two_secrets();
        let file = place.open().ok().unwrap();
        {
            let state = file.read_state();
            let mut content = state.content.clone();
            let keys = &mut content.identities.get_mut(&acme()).unwrap().keys;
            keys.get_mut(&"A".parse().unwrap()).unwrap().value = keys[&"B".parse().unwrap()].value.clone();
            file.write(&content, &state.keys).unwrap();
        }
        drop(file);
        assert!(matches!(place.refusal(), BuiltinError::Value(_)));
    }

    #[test]
    fn an_older_copy_is_refused() {
        let place = Place::with_two_secrets();
        let old = std::fs::read(place.path()).unwrap();
        let file = place.open().ok().unwrap();
        set(&file, "A", "rotated").unwrap();
        let counter = file.counter();
        drop(file);
        std::fs::write(place.path(), &old).unwrap();
        assert!(matches!(place.refusal(), BuiltinError::Format(FormatError::Rollback { .. })));
        // Also where the anchor is gone, or an older one was put back with it.
        std::fs::remove_file(place.folder.path().join(ANCHOR_FILE)).unwrap();
        assert!(matches!(place.refusal(), BuiltinError::Format(FormatError::Anchor)));
        let known = BuiltinFile::open(place.folder.path(), &place.key, counter);
        assert!(matches!(known.err(), Some(BuiltinError::Format(FormatError::Rollback { .. }))));
    }

    #[test]
    fn a_second_process_is_refused() {
        let place = Place::new();
        let _held = place.create();
        assert!(matches!(place.refusal(), BuiltinError::Disk(DiskError::Locked(_))));
    }

    #[test]
    fn expectations_are_held_and_versions_are_not_used_twice() {
        let place = Place::with_two_secrets();
        let file = place.open().ok().unwrap();
        let key: KeyName = "A".parse().unwrap();
        let value = || Zeroizing::new(b"v".to_vec());
        assert!(matches!(
            file.set(&acme(), &key, true, Expect::New, value(), 0),
            Err(BuiltinError::Exists(_))
        ));
        let absent = "C".parse().unwrap();
        assert!(matches!(
            file.set(&acme(), &absent, true, Expect::Existing, value(), 0),
            Err(BuiltinError::NotFound(_))
        ));
        assert_eq!(file.set(&acme(), &key, true, Expect::Existing, value(), 0).unwrap(), 2);
        file.remove_key(&acme(), &key).unwrap();
        assert_eq!(set(&file, "A", "again").unwrap(), 3);
    }

    #[tokio::test]
    async fn a_crash_at_any_point_of_a_change_leaves_before_or_after() {
        let place = Place::with_two_secrets();
        for points in 0.. {
            let file = place.open().ok().unwrap();
            let before = value_of(&file, "A").await;
            let after = format!("value {points}");
            disk::crash::after(Some(points));
            let result = set(&file, "A", &after);
            disk::crash::after(None);
            drop(file);
            let file =
                place.open().unwrap_or_else(|error| panic!("the file does not open after a crash: {error}"));
            let found = value_of(&file, "A").await;
            if result.is_ok() {
                assert_eq!(found.as_deref(), Some(after.as_bytes()));
                break;
            }
            assert!(found == before || found.as_deref() == Some(after.as_bytes()), "point {points}");
            assert_eq!(value_of(&file, "B").await.as_deref(), Some(&b"value"[..]));
        }
    }
}
