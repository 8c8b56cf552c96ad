//! SOPS files below one folder as a store. Each read is of the file as it is at that moment.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use age::{Identity, x25519};
use async_trait::async_trait;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use zeroize::Zeroizing;

use super::decrypt::{SopsError, decrypt, last_modified, names};
use crate::backend::{BackendError, Capabilities, Lease};
use crate::external::config;
use crate::external::credential::private_text;
use crate::external::open::OpenError;
use crate::external::store::{Store, StoredKey, StoredReading, StoredValue};
use crate::reference::{IdentityPath, Scheme};

/// Longest file, bytes.
pub const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;
/// How deep below the folder is looked for a list.
const MAX_DEPTH: usize = 8;
/// Most entries of folders that are looked at for a list.
const MAX_ENTRIES: usize = 20_000;
/// Most age identities of the broker.
const MAX_IDENTITIES: usize = 64;

/// SOPS files.
#[derive(Clone)]
pub struct Sops {
    folder: PathBuf,
    age_key_file: PathBuf,
}

impl Sops {
    /// Checks the configuration; no file is opened yet.
    pub fn open(config: &config::Sops) -> Result<Self, OpenError> {
        if !config.folder.is_absolute() || !config.age_key_file.is_absolute() {
            let why = "folder and age-key-file have to be absolute paths".to_owned();
            return Err(OpenError::Refused { store: Scheme::Sops, why });
        }
        Ok(Sops { folder: config.folder.clone(), age_key_file: config.age_key_file.clone() })
    }

    /// Files are read where waiting does no harm.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Sops) -> Result<T, BackendError> + Send + 'static,
    ) -> Result<T, BackendError> {
        let sops = self.clone();
        let failed = |_| BackendError::Failed { store: Scheme::Sops, detail: "reading did not end".into() };
        tokio::task::spawn_blocking(move || work(&sops)).await.map_err(failed)?
    }

    /// A file's text; nothing outside of the folder, wherever a symbolic link points.
    fn text(&self, path: &IdentityPath) -> Result<Zeroizing<String>, BackendError> {
        let folder = File::open(&self.folder).map_err(|error| self.unreachable(error))?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = openat2(&folder, path.as_str(), flags, Mode::empty(), ResolveFlags::BENEATH);
        let file = match file {
            Ok(file) => File::from(file),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                return Err(BackendError::NotFound(format!("`sops:{path}`")));
            }
            Err(rustix::io::Errno::ACCESS | rustix::io::Errno::PERM) => {
                return Err(BackendError::Denied {
                    store: Scheme::Sops,
                    what: format!("the file {path}"),
                    remedy: "let the broker's user read it",
                });
            }
            Err(rustix::io::Errno::XDEV | rustix::io::Errno::LOOP) => {
                return Err(BackendError::Corrupt(format!("sops:{path} leads out of the folder of [sops]")));
            }
            Err(error) => return Err(self.unreachable(error.into())),
        };
        let found = file.metadata().map_err(|error| self.unreachable(error))?;
        if !found.is_file() {
            return Err(BackendError::NotFound(format!("`sops:{path}`")));
        }
        if found.len() > MAX_FILE_BYTES {
            return Err(BackendError::TooMuch { what: format!("sops:{path}"), limit: "4 MiB" });
        }
        let mut text = Zeroizing::new(String::with_capacity(found.len() as usize + 1));
        let read = file.take(MAX_FILE_BYTES).read_to_string(&mut text);
        read.map_err(|_| BackendError::Corrupt(format!("sops:{path} is no text")))?;
        Ok(text)
    }

    fn unreachable(&self, error: std::io::Error) -> BackendError {
        let place = self.folder.display().to_string();
        BackendError::Unreachable { store: Scheme::Sops, place, source: Box::new(error) }
    }

    /// The broker's age identities, read anew each time, so that they can be replaced.
    fn identities(&self) -> Result<Vec<Box<dyn Identity + Send + Sync>>, BackendError> {
        let text = private_text(Scheme::Sops, &self.age_key_file)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let identities = lines.take(MAX_IDENTITIES).map(|line| {
            let refused = |_| BackendError::Credential {
                store: Scheme::Sops,
                detail: format!(
                    "{} has a line that is no age identity (AGE-SECRET-KEY-1…)",
                    self.age_key_file.display()
                ),
            };
            let identity = x25519::Identity::from_str(line).map_err(refused)?;
            Ok(Box::new(identity) as Box<dyn Identity + Send + Sync>)
        });
        identities.collect()
    }

    fn list_files(&self) -> Result<Vec<IdentityPath>, BackendError> {
        let (mut found, mut looked_at) = (Vec::new(), 0);
        let mut waiting = vec![(self.folder.clone(), 0)];
        while let Some((folder, depth)) = waiting.pop() {
            for entry in std::fs::read_dir(&folder).map_err(|error| self.unreachable(error))?.flatten() {
                looked_at += 1;
                if looked_at > MAX_ENTRIES {
                    return Err(BackendError::TooMuch {
                        what: "the folder of [sops]".into(),
                        limit: "20000 entries",
                    });
                }
                let Ok(kind) = entry.file_type() else { continue };
                let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
                if kind.is_dir() && !hidden && depth < MAX_DEPTH {
                    waiting.push((entry.path(), depth + 1));
                } else if kind.is_file() && !hidden {
                    found.extend(self.identity_at(&entry.path()));
                }
            }
        }
        Ok(found)
    }

    /// The path of an identity, where a file is one.
    fn identity_at(&self, file: &Path) -> Option<IdentityPath> {
        let path: IdentityPath = file.strip_prefix(&self.folder).ok()?.to_str()?.parse().ok()?;
        let text = self.text(&path).ok()?;
        names(path.as_str(), &text).ok().map(|_| path)
    }
}

#[async_trait]
impl Store for Sops {
    fn scheme(&self) -> Scheme {
        Scheme::Sops
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { names_without_values: true, versions: false, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        self.blocking(Sops::list_files).await
    }

    async fn names(&self, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError> {
        let path = path.clone();
        self.blocking(move |sops| {
            let text = sops.text(&path)?;
            let found = names(path.as_str(), &text).map_err(|error| refused(&path, &error))?;
            let changed = last_modified(path.as_str(), &text);
            Ok(found.into_iter().map(|name| key(name, changed.as_deref())).collect())
        })
        .await
    }

    async fn read(
        &self,
        path: &IdentityPath,
        wanted: Option<&BTreeSet<String>>,
        _: Option<&Lease>,
    ) -> Result<StoredReading, BackendError> {
        let (path, wanted) = (path.clone(), wanted.cloned());
        self.blocking(move |sops| {
            let text = sops.text(&path)?;
            let identities = sops.identities()?;
            let found = decrypt(path.as_str(), &text, &identities).map_err(|error| refused(&path, &error))?;
            let changed = last_modified(path.as_str(), &text);
            let is_wanted = |name: &String| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
            let values = found.into_iter().filter(|found| is_wanted(&found.name)).map(|found| {
                let Some(value) = found.value else {
                    return Err(BackendError::Corrupt(format!(
                        "nothing authenticates `{}` of sops:{path}: encrypt it, or the file without --mac-only-encrypted",
                        found.name
                    )));
                };
                Ok(StoredValue { key: key(found.name, changed.as_deref()), value })
            });
            Ok(StoredReading { values: values.collect::<Result<_, BackendError>>()?, leased: vec![] })
        })
        .await
    }
}

fn refused(path: &IdentityPath, error: &SopsError) -> BackendError {
    match error {
        SopsError::NoKey => BackendError::Denied {
            store: Scheme::Sops,
            what: format!("the file {path}, since no age identity of the broker is among its recipients"),
            remedy: "add the broker's recipient with `sops updatekeys`, or its identity to age-key-file",
        },
        error => BackendError::Corrupt(format!("sops:{path}: {error}")),
    }
}

fn key(name: String, changed: Option<&str>) -> StoredKey {
    let updated = changed.and_then(|time| time.parse::<jiff::Timestamp>().ok());
    StoredKey { name, version: 0, updated_ms: updated.map(jiff::Timestamp::as_millisecond) }
}
