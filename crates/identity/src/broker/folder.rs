//! The broker's state folder: mode 0700, all files 0600.
//!
//! | File | What |
//! |---|---|
//! | `broker.key` | Ed25519 private key (PKCS#8 PEM): signs sealed messages and audit checkpoints |
//! | `operator.key` | age identity that unlocks the builtin file; absent where it comes as a systemd credential |
//! | `identities.json`, `.counter`, `.lock` | the builtin file, its anchor, the lock that one broker holds |
//! | `trust.json` | enrolled workers and trusted servers |
//! | `grants.used` | grants that were used and may not be used again |
//! | `audit.jsonl`, `audit.checkpoint` | the audit trail and the last signature over its end |
//! | `admin.sock` | the admin API, while the broker runs |
//!
//! A kill at any point leaves it consistent: files are replaced whole, logs drop a torn last line.

use std::path::Path;

use seal::SigningKey;
use zeroize::Zeroizing;

use crate::builtin::BuiltinFile;
use crate::builtin::file::BuiltinError;
use crate::builtin::unlock::{UnlockError, generate_identity, protect};
use crate::disk::{self, DiskError};

/// Name of the broker's key in its folder.
pub const BROKER_KEY_FILE: &str = "broker.key";
/// Name of the operator's key in the broker's folder.
pub const OPERATOR_KEY_FILE: &str = "operator.key";
/// Name of the admin socket in the broker's folder.
pub const ADMIN_SOCKET: &str = "admin.sock";
const MAX_KEY_BYTES: u64 = 4096;

/// Why the folder could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// The builtin file.
    #[error(transparent)]
    Builtin(#[from] BuiltinError),
    /// The operator's key.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The broker's key.
    #[error("{BROKER_KEY_FILE}: {0}")]
    Key(#[from] seal::keys::KeyError),
}

/// Why [`init`] made nothing.
#[derive(Debug, thiserror::Error)]
pub enum InitError<E> {
    /// The folder.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// The recovery key could not be kept.
    #[error("the recovery key could not be kept")]
    Keep(E),
}

/// Whether the folder was initialised.
pub fn is_initialised(folder: &Path) -> bool {
    folder.join(crate::builtin::file::FILE).exists()
}

/// Makes a broker's folder: its key, an operator's key (protected where there is a passphrase), and an empty builtin file that
/// the operator's and a recovery key can unlock.
///
/// `keep` is given the recovery key, an age identity, before the file that it opens exists: to be shown once, or written to a
/// place away from this machine. So no crash leaves a file whose recovery key nobody has. A second call after a crash goes on
/// where the first one stopped, with another recovery key; where all is there it refuses.
pub fn init<E>(
    folder: &Path,
    passphrase: Option<Zeroizing<String>>,
    keep: impl FnOnce(&Zeroizing<String>) -> Result<(), E>,
) -> Result<(), InitError<E>> {
    let operator = make_keys(folder, passphrase)?;
    let (recovery_key, recovery) = generate_identity();
    keep(&recovery_key).map_err(InitError::Keep)?;
    BuiltinFile::create(folder, &[operator, recovery]).map_err(FolderError::from)?;
    Ok(())
}

/// Everything but the builtin file; the operator's recipient.
fn make_keys(folder: &Path, passphrase: Option<Zeroizing<String>>) -> Result<String, FolderError> {
    disk::private_folder(folder)?;
    if is_initialised(folder) {
        return Err(DiskError::Exists(folder.join(crate::builtin::file::FILE)).into());
    }
    broker_key(folder)?;
    let (operator_secret, operator) = generate_identity();
    let key_file = match passphrase {
        None => Zeroizing::new(operator_secret.as_bytes().to_vec()),
        Some(passphrase) => Zeroizing::new(protect(&operator_secret, passphrase)?),
    };
    // Without the file that it opens, an operator's key of an earlier try opens nothing.
    disk::replace(&folder.join(OPERATOR_KEY_FILE), &key_file)?;
    Ok(operator)
}

/// The broker's key, made where it is missing.
pub fn broker_key(folder: &Path) -> Result<SigningKey, FolderError> {
    let path = folder.join(BROKER_KEY_FILE);
    match disk::read(&path, MAX_KEY_BYTES) {
        Ok(bytes) => Ok(SigningKey::from_file_bytes(&bytes)?),
        Err(error) if error.is_missing() => {
            let key = SigningKey::generate()?;
            disk::create(&path, key.to_pem().as_bytes())?;
            Ok(key)
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::builtin::Unlock;

    #[test]
    fn is_made_once_and_unlocks_with_either_key() {
        let folder = disk::test_folder();
        let recovery = folder.path().join("recovery.key");
        let keep = |key: &Zeroizing<String>| {
            assert!(!is_initialised(folder.path()), "the key is kept before there is anything to recover");
            disk::create(&recovery, key.as_bytes())
        };
        init(folder.path(), None, keep).unwrap();
        assert!(matches!(init(folder.path(), None, lose), Err(InitError::Folder(_))));
        for path in [folder.path().join(OPERATOR_KEY_FILE), recovery] {
            let key = Unlock::KeyFile { path, passphrase: None }.operator_key().ok().unwrap();
            assert!(BuiltinFile::open(folder.path(), &key, 0).is_ok());
        }
    }

    #[test]
    fn a_crash_at_any_point_can_be_repeated() {
        for points in 0.. {
            let folder = disk::test_folder();
            disk::crash::after(Some(points));
            let first = init(folder.path(), None, lose).is_ok();
            disk::crash::after(None);
            if !is_initialised(folder.path()) {
                init(folder.path(), None, lose).expect("the second try works");
            }
            let unlock = Unlock::KeyFile { path: folder.path().join(OPERATOR_KEY_FILE), passphrase: None };
            let key = unlock.operator_key().ok().unwrap();
            assert!(BuiltinFile::open(folder.path(), &key, 0).is_ok(), "crash at point {points}");
            if first {
                break;
            }
        }
    }

    #[test]
    fn a_recovery_key_that_cannot_be_kept_makes_no_file() {
        let folder = disk::test_folder();
        let refused = init(folder.path(), None, |_| Err("no such place"));
        assert!(matches!(refused, Err(InitError::Keep("no such place"))));
        assert!(!is_initialised(folder.path()));
        init(folder.path(), None, lose).unwrap();
    }

    fn lose(_: &Zeroizing<String>) -> Result<(), DiskError> {
        Ok(())
    }
}
