//! The step's folder: files that the worker puts there before the start, and files that it collects after the end.

mod collect;
mod pattern;
mod put;

pub(crate) use collect::Wanted;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::harden::StepUser;

/// Where the workspace is in every sandbox.
pub(crate) const WORKSPACE: &str = "/workspace";

/// The step's folder.
pub(crate) struct Workspace {
    path: PathBuf,
    owner: Option<StepUser>,
    open: Option<put::OpenFile>,
}

impl Workspace {
    /// The workspace at `path`; files in it are given to `owner`.
    pub(crate) fn new(path: &Path, owner: Option<StepUser>) -> Self {
        Workspace { path: path.to_owned(), owner, open: None }
    }

    /// The folder itself, which is no symbolic link.
    fn folder(&self) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(
            &self.path,
            OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }
}
