//! Files of this program: private ones are 0600 in folders of 0700, and are replaced whole.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use zeroize::Zeroizing;

use crate::failure::Failure;

/// Bytes of a key or a token file.
const PRIVATE_FILE_LIMIT_BYTES: u64 = 64 << 10;

/// Permission of everybody to write.
const OTHERS_WRITE: u32 = 0o002;

/// Makes a folder that only this user may enter; an existing one must be this user's.
pub(crate) fn private_folder(path: &Path) -> Result<(), Failure> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|error| Failure::file("make the folder", path, &error))?;
    let metadata = fs::metadata(path).map_err(|error| Failure::file("look at", path, &error))?;
    if metadata.uid() != rustix::process::geteuid().as_raw() {
        return Err(Failure::failed(format!("the folder {} belongs to another user", path.display()))
            .hint("choose another with --data, or change its owner"));
    }
    if metadata.permissions().mode() & OTHERS_WRITE != 0 {
        return Err(Failure::failed(format!("everybody may write to the folder {}", path.display())).hint(
            format!(
                "chmod 700 {}, if nobody has changed what is in it; or choose another with --data",
                path.display()
            ),
        ));
    }
    Ok(())
}

/// Reads a private file; one that others may read is refused.
pub(crate) fn read_private(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let failed = |error: &std::io::Error| Failure::file("read", path, error);
    let file = fs::File::open(path).map_err(|error| failed(&error))?;
    let mode = file.metadata().map_err(|error| failed(&error))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(Failure::failed(format!(
            "{} may be read by others (mode {:o})",
            path.display(),
            mode & 0o777
        ))
        .hint(format!("chmod 600 {}; if others may have read it, make a new one", path.display())));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(PRIVATE_FILE_LIMIT_BYTES).read_to_end(&mut bytes).map_err(|error| failed(&error))?;
    Ok(bytes)
}

/// Reads a private file; where there is none, makes it with what `make` gives.
pub(crate) fn read_private_or_make(
    path: &Path,
    make: impl FnOnce() -> Zeroizing<Vec<u8>>,
) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if !path.exists() {
        create_private(path, &make())?;
    }
    read_private(path)
}

/// Makes a private file; one of this name must not exist.
pub(crate) fn create_private(path: &Path, content: &[u8]) -> Result<(), Failure> {
    if path.exists() {
        let error = std::io::Error::from(ErrorKind::AlreadyExists);
        return Err(Failure::file("make", path, &error).hint("name a file that does not exist"));
    }
    replace(path, content, 0o600)
}

/// Writes a file so that after a crash it has its old or its new content whole.
pub(crate) fn replace(path: &Path, content: &[u8], mode: u32) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::file("write", path, &error);
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = Path::new(&partial);
    let _ = fs::remove_file(partial);
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(mode).open(partial).map_err(failed)?;
    let written =
        file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(partial, path));
    written.map_err(|error| {
        let _ = fs::remove_file(partial);
        failed(error)
    })?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)
}

/// A short text that is given itself, or as `@FILE`.
pub(crate) fn text_or_file(text: &str) -> Result<String, Failure> {
    match text.strip_prefix('@') {
        None => Ok(text.to_owned()),
        Some(path) => {
            fs::read_to_string(path).map_err(|error| Failure::file("read", Path::new(path), &error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        let made = read_private_or_make(&path, || Zeroizing::new(b"one".to_vec())).unwrap();
        assert_eq!(*made, b"one");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(*read_private_or_make(&path, || Zeroizing::new(b"two".to_vec())).unwrap(), b"one");
        assert!(create_private(&path, b"three").is_err());
    }

    #[test]
    fn a_folder_that_everybody_may_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        private_folder(&data).unwrap();
        fs::set_permissions(&data, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(private_folder(&data).unwrap_err().hint.unwrap().contains("chmod 700"));
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        replace(&path, b"x", 0o644).unwrap();
        assert!(read_private(&path).unwrap_err().message.contains("644"));
    }
}
