//! A folder that is filled by hostile instructions: no path leaves it, and no symbolic link is followed, because the kernel
//! resolves each path below the folder's own descriptor (openat2).

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

/// Permissions of folders and of files that can be executed. In a sandbox the step is not the owner, so all may read.
const OPEN: Mode = Mode::from_bits_retain(0o755);
/// Permissions of other files.
const PLAIN: Mode = Mode::from_bits_retain(0o644);
/// How a folder tells overlayfs to hide what is below it (kernel documentation, `overlayfs`, with `userxattr`).
const OPAQUE: &str = "user.overlay.opaque";

/// The folder, by an open descriptor.
pub(super) struct Tree {
    root: OwnedFd,
    /// The folder that was used last: entries of a layer are sorted.
    last: Option<(PathBuf, OwnedFd)>,
    /// Files, folders and links made so far, those that no entry named included.
    pub(super) made: u64,
}

/// What is at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    Folder,
    Whiteout,
    Other,
}

impl Tree {
    /// The empty folder at `path`, which is not hostile.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        rustix::fs::fchmod(&root, OPEN)?;
        Ok(Self { root, last: None, made: 0 })
    }

    /// The folder at `path`, which is made if it is not there, with those above it.
    fn folder(&mut self, path: &Path) -> io::Result<OwnedFd> {
        match &self.last {
            Some((last, folder)) if last == path => return folder.try_clone(),
            _ => {}
        }
        let folder = match self.enter(path) {
            Err(Errno::NOENT | Errno::NOTDIR) => self.make_folders(path)?,
            entered => entered?,
        };
        self.last = Some((path.to_owned(), folder.try_clone()?));
        Ok(folder)
    }

    fn enter(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        let beneath = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        rustix::fs::openat2(&self.root, path, flags, Mode::empty(), beneath)
    }

    fn make_folders(&mut self, path: &Path) -> io::Result<OwnedFd> {
        let mut folder = self.enter(Path::new(""))?;
        for part in path.components() {
            // Parsed paths have none else; to the kernel `..` would be the way out.
            let Component::Normal(name) = part else { return Err(Errno::INVAL.into()) };
            match rustix::fs::mkdirat(&folder, name, OPEN) {
                Ok(()) => self.made += 1,
                Err(Errno::EXIST) if found(&folder, name)? == Found::Whiteout => {
                    rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
                    rustix::fs::mkdirat(&folder, name, OPEN)?;
                    set_opaque(&child_folder(&folder, name)?)?;
                }
                Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            folder = child_folder(&folder, name)?;
            rustix::fs::fchmod(&folder, OPEN)?;
        }
        Ok(folder)
    }

    /// A folder, there already or not; a whiteout in its place makes it opaque.
    pub(super) fn put_folder(&mut self, folder: &Path, name: &OsStr) -> io::Result<()> {
        let parent = self.folder(folder)?;
        let before = found(&parent, name)?;
        if before == Found::Folder {
            return Ok(());
        }
        self.clear(&parent, name, before)?;
        rustix::fs::mkdirat(&parent, name, OPEN)?;
        self.made += 1;
        let made = child_folder(&parent, name)?;
        rustix::fs::fchmod(&made, OPEN)?;
        if before == Found::Whiteout { set_opaque(&made) } else { Ok(()) }
    }

    /// A new file in place of whatever is there; `finish` it when it is written.
    pub(super) fn put_file(&mut self, folder: &Path, name: &OsStr) -> io::Result<File> {
        let parent = self.folder(folder)?;
        let before = found(&parent, name)?;
        self.clear(&parent, name, before)?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o600))?;
        self.made += 1;
        Ok(File::from(file))
    }

    /// A symbolic link in place of whatever is there. Nothing here ever follows it.
    pub(super) fn put_link(&mut self, folder: &Path, name: &OsStr, target: &[u8]) -> io::Result<()> {
        let parent = self.folder(folder)?;
        let before = found(&parent, name)?;
        self.clear(&parent, name, before)?;
        rustix::fs::symlinkat(OsStr::from_bytes(target), &parent, name)?;
        self.made += 1;
        Ok(())
    }

    /// A further name for a file of this layer.
    pub(super) fn put_hard_link(
        &mut self,
        folder: &Path,
        name: &OsStr,
        target: (&Path, &OsStr),
    ) -> io::Result<()> {
        let of = self.enter(target.0)?;
        if (target.0, target.1) == (folder, name) {
            return Ok(());
        }
        if found(&of, target.1)? != Found::Other {
            return Err(io::ErrorKind::NotFound.into());
        }
        let parent = self.folder(folder)?;
        let before = found(&parent, name)?;
        self.clear(&parent, name, before)?;
        // Without AT_SYMLINK_FOLLOW a link to a symbolic link is a link to the link.
        rustix::fs::linkat(&of, target.1, &parent, name, AtFlags::empty())?;
        self.made += 1;
        Ok(())
    }

    /// Hides what lower layers have at this place.
    pub(super) fn put_whiteout(&mut self, folder: &Path, name: &OsStr) -> io::Result<()> {
        let parent = self.folder(folder)?;
        match found(&parent, name)? {
            Found::Nothing => {
                rustix::fs::mknodat(&parent, name, FileType::CharacterDevice, Mode::empty(), 0)?;
                self.made += 1;
                Ok(())
            }
            // What this layer itself put there stays.
            Found::Folder => set_opaque(&child_folder(&parent, name)?),
            Found::Whiteout | Found::Other => Ok(()),
        }
    }

    /// Hides all that lower layers have in this folder.
    pub(super) fn put_opaque(&mut self, folder: &Path) -> io::Result<()> {
        let folder = self.folder(folder)?;
        set_opaque(&folder)
    }

    /// Waits until all that was written is on the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.root)?)
    }

    fn clear(&mut self, parent: &OwnedFd, name: &OsStr, before: Found) -> io::Result<()> {
        match before {
            Found::Nothing => Ok(()),
            Found::Whiteout | Found::Other => Ok(rustix::fs::unlinkat(parent, name, AtFlags::empty())?),
            Found::Folder => {
                self.last = None;
                Ok(rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?)
            }
        }
    }
}

/// Gives a file its last content's time and its permissions: of what the image says only whether it can be executed.
pub(super) fn finish(file: &File, executable: bool, modified: u64) -> io::Result<()> {
    rustix::fs::fchmod(file, if executable { OPEN } else { PLAIN })?;
    let time = Timespec { tv_sec: i64::try_from(modified).unwrap_or(0), tv_nsec: 0 };
    // A time that the file system cannot hold is no reason to refuse an image.
    let _ = rustix::fs::futimens(file, &Timestamps { last_access: time, last_modification: time });
    Ok(())
}

fn child_folder(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

fn found(parent: &OwnedFd, name: &OsStr) -> io::Result<Found> {
    let stat = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(Found::Nothing),
        stat => stat?,
    };
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Folder,
        FileType::CharacterDevice => Found::Whiteout,
        _ => Found::Other,
    })
}

fn set_opaque(folder: &OwnedFd) -> io::Result<()> {
    match rustix::fs::fsetxattr(folder.as_fd(), OPAQUE, b"y", XattrFlags::empty()) {
        Err(Errno::OPNOTSUPP) => Err(io::Error::new(
            io::ErrorKind::Unsupported,
            "the file system of the image cache keeps no extended attributes; put the cache on ext4, xfs or btrfs",
        )),
        set => Ok(set?),
    }
}
