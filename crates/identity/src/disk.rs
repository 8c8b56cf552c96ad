//! Private files: owned by us, mode 0600, replaced whole and durably, locked against a second process.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, OFlags};
use zeroize::Zeroizing;

/// Why a private file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// The operating system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On this path.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is there already.
    #[error("{} exists already", .0.display())]
    Exists(PathBuf),
    /// Others may read or write it.
    #[error("{} must be a plain file of this user that nobody else may read: chmod {mode:o} {}", path.display(), path.display())]
    Permissions {
        /// The path.
        path: PathBuf,
        /// The mode that it must have.
        mode: u32,
    },
    /// Longer than it may be.
    #[error("{} is longer than {max_bytes} bytes", path.display())]
    TooLong {
        /// The path.
        path: PathBuf,
        /// The limit.
        max_bytes: u64,
    },
    /// Another process has the lock.
    #[error("{} is in use by another process: stop the other broker first", .0.display())]
    Locked(PathBuf),
}

impl DiskError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> DiskError {
        let path = path.to_owned();
        move |source| DiskError::Io { action, path, source }
    }

    /// Whether the path does not exist.
    pub fn is_missing(&self) -> bool {
        matches!(self, DiskError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Makes a folder that only this user may enter, or checks the one that is there.
pub(crate) fn private_folder(path: &Path) -> Result<(), DiskError> {
    match fs::DirBuilder::new().recursive(true).mode(0o700).create(path) {
        Ok(()) => {}
        Err(error) => return Err(DiskError::io("make the folder", path)(error)),
    }
    let found = fs::symlink_metadata(path).map_err(DiskError::io("look at", path))?;
    let ours =
        found.is_dir() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if ours { Ok(()) } else { Err(DiskError::Permissions { path: path.into(), mode: 0o700 }) }
}

/// Reads a private file whole; its content is wiped when dropped.
pub(crate) fn read(path: &Path, max_bytes: u64) -> Result<Zeroizing<Vec<u8>>, DiskError> {
    let mut file = open(path, OpenOptions::new().read(true))?;
    let length = file.metadata().map_err(DiskError::io("look at", path))?.len();
    if length > max_bytes {
        return Err(DiskError::TooLong { path: path.into(), max_bytes });
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.read_to_end(&mut bytes).map_err(DiskError::io("read", path))?;
    Ok(bytes)
}

/// Opens a log for appending, made with mode 0600 where it is missing; returns it with its length.
pub(crate) fn open_log(path: &Path) -> Result<(File, u64), DiskError> {
    let mut options = OpenOptions::new();
    let file = open(path, options.read(true).append(true).create(true))?;
    let length = file.metadata().map_err(DiskError::io("look at", path))?.len();
    sync_folder(path)?;
    Ok((file, length))
}

/// Writes a file that must not be there yet.
pub(crate) fn create(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    if fs::symlink_metadata(path).is_ok() {
        return Err(DiskError::Exists(path.into()));
    }
    replace(path, bytes)
}

/// Replaces a file so that a crash at any point leaves the old content or the new: a temporary file beside it, synced, renamed,
/// and the folder synced.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<(), DiskError> {
    let temporary = path.with_added_extension("new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            return Err(DiskError::io("remove", &temporary)(error));
        }
        _ => {}
    }
    crash::point("create", path)?;
    let mut file = open(&temporary, OpenOptions::new().write(true).create_new(true))?;
    if crash::point("half", path).is_err() {
        file.write_all(&bytes[..bytes.len() / 2]).map_err(DiskError::io("write", &temporary))?;
        return Err(DiskError::io("write", &temporary)(crash::error()));
    }
    file.write_all(bytes).map_err(DiskError::io("write", &temporary))?;
    crash::point("sync", path)?;
    file.sync_all().map_err(DiskError::io("sync", &temporary))?;
    crash::point("rename", path)?;
    fs::rename(&temporary, path).map_err(DiskError::io("rename", &temporary))?;
    crash::point("sync folder", path)?;
    sync_folder(path)
}

/// An exclusive lock; it ends with the process, however that ends.
pub(crate) struct Lock {
    _file: File,
}

/// Takes the lock file, or says that another process has it.
pub(crate) fn lock(path: &Path) -> Result<Lock, DiskError> {
    let file = open(path, OpenOptions::new().write(true).create(true).truncate(false))?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Lock { _file: file }),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(DiskError::Locked(path.into())),
        Err(error) => Err(DiskError::io("lock", path)(error.into())),
    }
}

fn open(path: &Path, options: &mut OpenOptions) -> Result<File, DiskError> {
    let flags = (OFlags::NOFOLLOW | OFlags::CLOEXEC).bits() as i32;
    let file = options.mode(0o600).custom_flags(flags).open(path).map_err(DiskError::io("open", path))?;
    let found = file.metadata().map_err(DiskError::io("look at", path))?;
    let ours =
        found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
    if ours { Ok(file) } else { Err(DiskError::Permissions { path: path.into(), mode: 0o600 }) }
}

fn sync_folder(path: &Path) -> Result<(), DiskError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(DiskError::io("sync the folder of", path))
}

/// A folder for a test that only this user may enter.
#[cfg(test)]
pub(crate) fn test_folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let private = fs::Permissions::from_mode(0o700);
    tempfile::Builder::new().permissions(private).tempdir().expect("a temporary folder can be made")
}

/// Points at which a test lets [`replace`] stop as a crash would; nothing outside tests.
pub(crate) mod crash {
    use std::io;
    use std::path::Path;

    use super::DiskError;

    #[cfg(test)]
    thread_local! {
        static POINTS_LEFT: std::cell::Cell<Option<u32>> = const { std::cell::Cell::new(None) };
    }

    /// From the `points`-th point on, everything fails; `None` ends that.
    #[cfg(test)]
    pub(crate) fn after(points: Option<u32>) {
        POINTS_LEFT.set(points);
    }

    #[cfg(test)]
    pub(super) fn point(action: &'static str, path: &Path) -> Result<(), DiskError> {
        match POINTS_LEFT.get() {
            None => Ok(()),
            Some(0) => Err(DiskError::io(action, path)(error())),
            Some(left) => {
                POINTS_LEFT.set(Some(left - 1));
                Ok(())
            }
        }
    }

    #[cfg(not(test))]
    pub(super) fn point(_: &'static str, _: &Path) -> Result<(), DiskError> {
        Ok(())
    }

    pub(super) fn error() -> io::Error {
        io::Error::other("a crash that a test asked for")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_crash_at_any_point_leaves_the_old_or_the_new() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"old").unwrap();
        let mut crashes = 0;
        for points in 0.. {
            crash::after(Some(points));
            let result = replace(&path, b"new content");
            crash::after(None);
            let found = read(&path, 100).unwrap();
            if result.is_ok() {
                assert_eq!(found.as_slice(), b"new content");
                break;
            }
            crashes += 1;
            assert!([&b"old"[..], b"new content"].contains(&found.as_slice()));
        }
        assert_eq!(crashes, 5);
    }

    #[test]
    fn what_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        replace(&path, b"x").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = read(&path, 100).err().unwrap().to_string();
        assert!(error.contains("chmod 600"), "{error}");
    }

    #[test]
    fn a_symbolic_link_and_a_long_file_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        replace(&path, b"content").unwrap();
        symlink(&path, &link).unwrap();
        assert!(read(&link, 100).is_err());
        assert!(matches!(read(&path, 6), Err(DiskError::TooLong { .. })));
    }

    #[test]
    fn a_lock_is_held_by_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).ok().unwrap();
        assert!(matches!(lock(&path), Err(DiskError::Locked(_))));
        drop(held);
        assert!(lock(&path).is_ok());
    }
}
