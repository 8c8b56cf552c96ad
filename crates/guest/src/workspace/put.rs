//! Files that the worker puts into the workspace before the step starts. No symbolic link is followed on the way, so
//! an image cannot lead a write out of the workspace.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use protocol::frame::FailureKind;
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::Workspace;
use crate::failure::Failure;

/// Permission bits that a file may be given: no set-user-id, set-group-id or sticky bit.
const PERMISSION_BITS: u32 = 0o777;
const FOLDER_MODE: Mode = Mode::from_raw_mode(0o755);

/// A file that is being put.
pub(super) struct OpenFile {
    path: String,
    file: OwnedFd,
}

impl Workspace {
    /// Begins a file below the workspace, with the folders on its way.
    pub(crate) fn put(&mut self, path: &str, mode: u32) -> Result<(), Failure> {
        if let Some(open) = &self.open {
            return Err(Failure::protocol(format!("a file begins before `{}` is complete", open.path)));
        }
        let file = self.create(path, mode).map_err(|error| failure(path, &error))?;
        self.open = Some(OpenFile { path: path.to_owned(), file });
        Ok(())
    }

    /// Adds to the file that is being put.
    pub(crate) fn put_data(&mut self, mut data: &[u8], last: bool) -> Result<(), Failure> {
        let Some(open) = &self.open else {
            return Err(Failure::protocol("content of a file came without the file"));
        };
        while !data.is_empty() {
            match rustix::io::write(&open.file, data) {
                Ok(bytes) => data = &data[bytes..],
                Err(Errno::INTR) => {}
                Err(error) => return Err(failure(&open.path, &error.into())),
            }
        }
        if last {
            self.open = None;
        }
        Ok(())
    }

    /// Whether a file is not complete yet.
    pub(crate) fn is_putting(&self) -> bool {
        self.open.is_some()
    }

    /// Gives the folder to the step's user.
    pub(crate) fn hand_over(&self) -> Result<(), Failure> {
        let Some(owner) = self.owner else { return Ok(()) };
        let given = self
            .folder()
            .and_then(|folder| Ok(rustix::fs::fchown(folder, Some(owner.uid), Some(owner.gid))?));
        match given {
            // A sandbox without a workspace serves steps that need none.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            given => given.map_err(|error| failure("", &error)),
        }
    }

    fn create(&self, path: &str, mode: u32) -> io::Result<OwnedFd> {
        let names = names(path).ok_or(io::ErrorKind::InvalidFilename)?;
        let (file, folders) = names.split_last().ok_or(io::ErrorKind::InvalidFilename)?;
        let mut folder = self.folder()?;
        for name in folders {
            folder = self.enter(&folder, name)?;
        }
        let file = rustix::fs::openat(
            &folder,
            *file,
            OFlags::CREATE
                | OFlags::WRONLY
                | OFlags::TRUNC
                | OFlags::NOFOLLOW
                | OFlags::NONBLOCK
                | OFlags::NOCTTY
                | OFlags::CLOEXEC,
            Mode::from_raw_mode(0o600),
        )?;
        if FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no regular file"));
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & PERMISSION_BITS))?;
        self.give(&file)?;
        Ok(file)
    }

    /// Opens a folder below `folder`, and makes it if it is not there.
    fn enter(&self, folder: &OwnedFd, name: &str) -> io::Result<OwnedFd> {
        let made = match rustix::fs::mkdirat(folder, name, FOLDER_MODE) {
            Ok(()) => true,
            Err(Errno::EXIST) => false,
            Err(error) => return Err(error.into()),
        };
        let entered = rustix::fs::openat(
            folder,
            name,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if made {
            rustix::fs::fchmod(&entered, FOLDER_MODE)?;
            self.give(&entered)?;
        }
        Ok(entered)
    }

    fn give(&self, file: impl AsFd) -> io::Result<()> {
        match self.owner {
            Some(owner) => {
                Ok(rustix::fs::chownat(file, "", Some(owner.uid), Some(owner.gid), AtFlags::EMPTY_PATH)?)
            }
            None => Ok(()),
        }
    }
}

/// The names on a path below the workspace; `None` if it is empty, absolute or has `.`, `..` or empty names.
fn names(path: &str) -> Option<Vec<&str>> {
    let names: Vec<&str> = path.split('/').collect();
    let plain = |name: &&str| !matches!(*name, "" | "." | "..") && !name.contains('\0');
    names.iter().all(plain).then_some(names)
}

fn failure(path: &str, error: &io::Error) -> Failure {
    Failure::new(FailureKind::Workspace, format!("/workspace/{path} cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn workspace() -> (tempfile::TempDir, Workspace) {
        let folder = tempfile::tempdir().unwrap();
        let workspace = Workspace::new(folder.path(), None);
        (folder, workspace)
    }

    #[test]
    fn a_file_comes_in_pieces_with_its_folders_and_mode() {
        let (folder, mut workspace) = workspace();
        workspace.put("a/b/run.sh", 0o4755).unwrap();
        workspace.put_data(b"#!/bin/", false).unwrap();
        assert!(workspace.is_putting());
        workspace.put_data(b"sh\n", true).unwrap();
        assert!(!workspace.is_putting());
        let path = folder.path().join("a/b/run.sh");
        assert_eq!(fs::read(&path).unwrap(), b"#!/bin/sh\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o755);
    }

    #[test]
    fn no_path_leads_out() {
        let (folder, mut workspace) = workspace();
        let outside = tempfile::tempdir().unwrap();
        symlink(outside.path(), folder.path().join("link")).unwrap();
        symlink(outside.path().join("file"), folder.path().join("leaf")).unwrap();
        let bad = ["", "/etc/x", "../x", "a/../../x", "a//b", "./a", "a/", "a\0b", "link/x", "leaf", "."];
        for path in bad {
            let failure = workspace.put(path, 0o644).expect_err(path);
            assert_eq!(failure.kind, FailureKind::Workspace, "{path}");
            assert!(!workspace.is_putting());
        }
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_no_regular_file_is_refused_without_waiting() {
        let (folder, mut workspace) = workspace();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.path().join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        assert!(workspace.put("fifo", 0o644).is_err());
    }

    #[test]
    fn frames_out_of_order_are_refused() {
        let (_folder, mut workspace) = workspace();
        assert_eq!(workspace.put_data(b"x", true).unwrap_err().kind, FailureKind::Protocol);
        workspace.put("a", 0o644).unwrap();
        assert_eq!(workspace.put("b", 0o644).unwrap_err().kind, FailureKind::Protocol);
    }
}
