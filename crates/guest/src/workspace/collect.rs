//! Files that come back after the step's end: regular files below the workspace that a pattern means, within limits.
//!
//! Text is masked like output. A binary file that holds a secret value or a key's name is left out, since masking would
//! break it: the server may know neither.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;

use protocol::frame::{FromGuest, MAX_DATA_BYTES};
use rustix::fs::{Dir, FileType, Mode, OFlags, SeekFrom, Stat};
use rustix::io::Errno;

use super::{Workspace, pattern};
use crate::channel::{Channel, Gone};
use crate::redact::{Patterns, Redactor};

/// Folders within folders that are searched.
const MOST_DEPTH: usize = 64;
/// Entries of folders that are looked at.
const MOST_ENTRIES: usize = 200_000;
/// Files whose leaving-out is reported one by one.
const MOST_SKIPPED: usize = 1000;
/// Bytes at the start of a file that tell text from binary, by the absence of zero bytes.
const PROBE_BYTES: usize = 8192;
/// Where the worker puts what is not the step's own, such as its script: never collected.
const INTERNAL: &str = ".sagewai";
/// Longest path that is reported.
const MOST_PATH_BYTES: usize = 4096;

/// What is asked for.
pub(crate) struct Wanted {
    pub(crate) patterns: Vec<String>,
    pub(crate) max_file_bytes: u64,
    pub(crate) max_total_bytes: u64,
    pub(crate) max_files: u32,
}

/// Why a file was left out.
type Reason = String;

impl Workspace {
    /// Sends each wanted file and then what was left out. The step is over, so nothing changes meanwhile.
    pub(crate) fn collect(
        &self,
        wanted: &Wanted,
        patterns: &Rc<Patterns>,
        channel: &mut Channel,
    ) -> Result<(), Gone> {
        let mut collection = Collection {
            wanted,
            patterns,
            channel,
            owner: self.owner.map(|owner| owner.uid.as_raw()),
            device: 0,
            entries: 0,
            files: 0,
            total_bytes: 0,
            skipped: Vec::new(),
        };
        match self.folder().and_then(|folder| Ok((rustix::fs::fstat(&folder)?, folder))) {
            Ok((stat, folder)) => {
                collection.device = stat.st_dev;
                collection.walk(folder, "", 0)?;
            }
            Err(error) => collection.skip("", format!("the workspace cannot be read: {error}")),
        }
        let skipped = collection.skipped;
        channel.send_patiently(&FromGuest::Collected { skipped })
    }
}

struct Collection<'a> {
    wanted: &'a Wanted,
    patterns: &'a Rc<Patterns>,
    channel: &'a mut Channel,
    owner: Option<u32>,
    device: u64,
    entries: usize,
    files: u32,
    total_bytes: u64,
    skipped: Vec<(String, Reason)>,
}

impl Collection<'_> {
    fn skip(&mut self, path: &str, reason: impl Into<Reason>) {
        if self.skipped.len() < MOST_SKIPPED {
            let shown = Redactor::whole(self.patterns, path.as_bytes());
            let shown: String =
                String::from_utf8_lossy(&shown).chars().filter(|c| !c.is_control()).take(200).collect();
            self.skipped.push((shown, reason.into()));
        }
    }

    fn walk(&mut self, folder: OwnedFd, prefix: &str, depth: usize) -> Result<(), Gone> {
        let names = match names(&folder) {
            Ok((names, strange)) => {
                for name in strange {
                    self.skip(&format!("{prefix}/{name}"), "its name is not UTF-8");
                }
                names
            }
            Err(error) => {
                self.skip(prefix, format!("the folder cannot be read: {error}"));
                return Ok(());
            }
        };
        for name in names {
            self.entries += 1;
            if self.entries > MOST_ENTRIES {
                self.skip(prefix, format!("the workspace has more than {MOST_ENTRIES} entries"));
                return Ok(());
            }
            if prefix.is_empty() && name == INTERNAL {
                continue;
            }
            let path = if prefix.is_empty() { name.clone() } else { format!("{prefix}/{name}") };
            self.entry(&folder, &name, &path, depth)?;
        }
        Ok(())
    }

    fn entry(&mut self, folder: &OwnedFd, name: &str, path: &str, depth: usize) -> Result<(), Gone> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::RDONLY | OFlags::CLOEXEC;
        let meant = self.wanted.patterns.iter().any(|pattern| pattern::matches(pattern, path));
        let opened = rustix::fs::openat(folder, name, flags, Mode::empty())
            .and_then(|file| Ok((rustix::fs::fstat(&file)?, file)));
        match opened {
            Ok((stat, file)) if FileType::from_raw_mode(stat.st_mode) == FileType::Directory => {
                if stat.st_dev != self.device {
                    self.skip(path, "the folder is another file system");
                } else if depth == MOST_DEPTH || path.len() > MOST_PATH_BYTES {
                    self.skip(path, format!("folders are nested deeper than {MOST_DEPTH}"));
                } else {
                    return self.walk(file, path, depth + 1);
                }
            }
            Ok((stat, file)) if meant => {
                if let Err(reason) = self.file(&file, &stat, path)? {
                    self.skip(path, reason);
                }
            }
            Err(Errno::LOOP) if meant => self.skip(path, "symbolic links are not followed"),
            Err(error) if meant => self.skip(path, format!("it cannot be opened: {error}")),
            _ => {}
        }
        Ok(())
    }

    /// Sends one file, or says why not.
    fn file(&mut self, file: &OwnedFd, stat: &Stat, path: &str) -> Result<Result<(), Reason>, Gone> {
        let admitted = self.admit(stat, path).and_then(|()| self.size_masked(file));
        let size = match admitted {
            Ok(size) => size,
            Err(reason) => return Ok(Err(reason)),
        };
        if size > self.wanted.max_total_bytes - self.total_bytes {
            return Ok(Err(format!(
                "all files together are larger than {} bytes",
                self.wanted.max_total_bytes
            )));
        }
        self.total_bytes += size;
        self.files += 1;
        self.channel.send_patiently(&FromGuest::Artifact { path: path.to_owned(), size })?;
        self.send_content(file, size)?;
        Ok(Ok(()))
    }

    fn admit(&self, stat: &Stat, path: &str) -> Result<(), Reason> {
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            Err("it is no regular file".into())
        } else if stat.st_nlink > 1 && self.owner.is_some_and(|owner| owner != stat.st_uid) {
            // It may be a link to a file of the sandbox that the step itself could not read.
            Err("it is a hard link to a file that is not the step's".into())
        } else if path.len() > MOST_PATH_BYTES || path.chars().any(char::is_control) {
            Err("its path is too long or holds control characters".into())
        } else if Redactor::whole(self.patterns, path.as_bytes()) != path.as_bytes() {
            Err("its path holds a secret value or a secret key's name".into())
        } else if self.files >= self.wanted.max_files {
            Err(format!("there are more than {} files", self.wanted.max_files))
        } else if size > self.wanted.max_file_bytes {
            Err(format!("its {size} bytes are more than {}", self.wanted.max_file_bytes))
        } else {
            Ok(())
        }
    }

    /// The size once masked; an error for a binary file with something to mask.
    fn size_masked(&self, file: &OwnedFd) -> Result<u64, Reason> {
        let mut redactor = Redactor::new(Rc::clone(self.patterns));
        let (mut size, mut binary, mut changed) = (0_u64, false, false);
        let mut masked = Vec::new();
        let mut plain_bytes = 0_u64;
        read_all(file, |data| {
            binary |= plain_bytes < PROBE_BYTES as u64 && data.contains(&0);
            plain_bytes += data.len() as u64;
            redactor.push(data, &mut masked);
            changed |= redactor.has_masked();
            size += masked.len() as u64;
            masked.clear();
            if size > self.wanted.max_file_bytes { Err(io::ErrorKind::FileTooLarge.into()) } else { Ok(()) }
        })
        .map_err(|error| format!("it cannot be read: {error}"))?;
        redactor.finish(&mut masked);
        changed |= redactor.has_masked();
        if binary && changed {
            return Err("it is binary and holds a secret value or a secret key's name".into());
        }
        Ok(size + masked.len() as u64)
    }

    /// Sends exactly `size` bytes, as they were announced: should the file differ now, its end is cut off or filled
    /// with zero bytes.
    fn send_content(&mut self, file: &OwnedFd, size: u64) -> Result<(), Gone> {
        let mut redactor = Redactor::new(Rc::clone(self.patterns));
        let (mut masked, mut rest, mut gone) = (Vec::new(), size, false);
        _ = read_all(file, |data| {
            redactor.push(data, &mut masked);
            while masked.len() > MAX_DATA_BYTES && rest > MAX_DATA_BYTES as u64 {
                let data: Vec<u8> = masked.drain(..MAX_DATA_BYTES).collect();
                rest -= data.len() as u64;
                if self.channel.send_patiently(&FromGuest::ArtifactData { data, last: false }).is_err() {
                    gone = true;
                    return Err(io::ErrorKind::BrokenPipe.into());
                }
            }
            Ok(())
        });
        if gone {
            return Err(Gone);
        }
        redactor.finish(&mut masked);
        masked.resize(usize::try_from(rest).unwrap_or(0), 0);
        let mut pieces = masked.chunks(MAX_DATA_BYTES).peekable();
        if pieces.peek().is_none() {
            return self.channel.send_patiently(&FromGuest::ArtifactData { data: Vec::new(), last: true });
        }
        while let Some(piece) = pieces.next() {
            let frame = FromGuest::ArtifactData { data: piece.to_vec(), last: pieces.peek().is_none() };
            self.channel.send_patiently(&frame)?;
        }
        Ok(())
    }
}

/// Names in a folder, without the folder itself and its parent: those that are UTF-8, sorted, and the rest as well as
/// it can be shown.
fn names(folder: &OwnedFd) -> io::Result<(Vec<String>, Vec<String>)> {
    let (mut names, mut strange) = (Vec::new(), Vec::new());
    for entry in Dir::read_from(folder)?.take(MOST_ENTRIES) {
        match entry?.file_name().to_str() {
            Ok("." | "..") => {}
            Ok(name) => names.push(name.to_owned()),
            Err(_) => strange.push("?".to_owned()),
        }
    }
    names.sort_unstable();
    Ok((names, strange))
}

/// Reads a file from its start in pieces.
fn read_all(file: &OwnedFd, mut take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    rustix::fs::seek(file, SeekFrom::Start(0))?;
    let mut buffer = vec![0; MAX_DATA_BYTES];
    loop {
        match rustix::io::read(file, &mut buffer[..]) {
            Ok(0) => return Ok(()),
            Ok(bytes) => take(&buffer[..bytes])?,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
