//! Unpacks one layer: a stream, compressed or not, becomes a folder as overlayfs takes it for a lower layer.
//!
//! Of the metadata of files only what a step needs is taken over: whether they can be executed, and when they were changed.
//! Owners, setuid bits, extended attributes (file capabilities) and devices are not.

use std::ffi::OsStr;
use std::io::{self, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use sha2::{Digest as _, Sha256};

use super::digest::Digest;
use super::limits::{LayerLimits, MAX_DEPTH, MAX_NAME_BYTES};
use super::tar::{Entry, Kind, Tar, TarError};
use super::tree::{Tree, finish};
use super::zstd::Frames;

/// Prefix of names that hide what is below (OCI image specification, `layer`).
const WHITEOUT: &[u8] = b".wh.";
/// The rest of the name that hides all of a folder.
const OPAQUE: &[u8] = b".wh..opq";
/// Bytes that are read and written at once.
const BUFFER_BYTES: usize = 64 << 10;
/// What a file takes on the disk at least, and in what steps it grows.
const DISK_BLOCK_BYTES: u64 = 4096;
/// What an entry takes of the stream beside its content, at most but for long names.
const HEADERS_BYTES: u64 = 4 * 512;

/// What a layer must turn out to be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// Digest of the stream as it is sent.
    pub(super) sent: Digest,
    /// Digest of the tar stream in it: the layer's `diff_id`.
    pub(super) plain: Digest,
}

/// Why a layer was not unpacked.
#[derive(Debug, thiserror::Error)]
pub(super) enum LayerError {
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A name that leads out of the layer, or could.
    #[error("the layer's entry `{0}` {1}")]
    Path(String, &'static str),
    #[error("it is {found} instead of {expected}")]
    Digest { expected: Digest, found: Digest },
    #[error("the layer has more than {0} {1}")]
    TooLarge(u64, &'static str),
    /// The disk, or what was on it.
    #[error("failed to write `{0}`")]
    Write(String, #[source] io::Error),
}

/// Unpacks into the empty folder `into` and returns the bytes that it takes on the disk, about. Nothing of the folder may be
/// used before this has returned.
pub(super) fn unpack(
    stream: impl Read,
    into: &Path,
    expected: Expected,
    limits: LayerLimits,
) -> Result<u64, LayerError> {
    let mut sent = Watched::new(stream, limits.compressed_bytes, "bytes as it is sent");
    let unpacked = unpack_stream(&mut sent, into, limits);
    match &unpacked {
        Ok(_) | Err(LayerError::Tar(_) | LayerError::Path(..)) => {
            // A stream that is not what was named is the better answer than what is wrong in it.
            io::copy(&mut sent, &mut io::sink()).map_err(TarError::Read)?;
            same(expected.sent, sent.digest())?;
        }
        Err(LayerError::Digest { .. } | LayerError::TooLarge(..) | LayerError::Write(..)) => {}
    }
    let (plain, disk_bytes) = unpacked?;
    same(expected.plain, plain)?;
    Ok(disk_bytes)
}

fn same(expected: Digest, found: Digest) -> Result<(), LayerError> {
    if expected == found { Ok(()) } else { Err(LayerError::Digest { expected, found }) }
}

fn unpack_stream(
    sent: &mut Watched<impl Read>,
    into: &Path,
    limits: LayerLimits,
) -> Result<(Digest, u64), LayerError> {
    let failed = |error| LayerError::Write(".".to_owned(), error);
    let mut tree = Tree::open(into).map_err(failed)?;
    // Headers and padding count too, so that a stream of nothing but them ends.
    let headers = limits.entries.saturating_mul(HEADERS_BYTES);
    let most = limits.unpacked_bytes.saturating_add(headers);
    let mut plain = Watched::new(decompress(sent)?, most, "bytes");
    let mut tar = Tar::new(&mut plain);
    let disk_bytes = entries(&mut tar, &mut tree, limits)?;
    // The digest is of all of it, what comes after the last entry included.
    io::copy(tar.into_stream(), &mut io::sink()).map_err(TarError::Read)?;
    tree.sync().map_err(failed)?;
    Ok((plain.digest(), disk_bytes))
}

fn entries(tar: &mut Tar<impl Read>, tree: &mut Tree, limits: LayerLimits) -> Result<u64, LayerError> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut disk_bytes = 0_u64;
    let mut seen = 0_u64;
    while let Some(entry) = tar.next()? {
        seen += 1;
        if seen.max(tree.made) > limits.entries {
            return Err(LayerError::TooLarge(limits.entries, "files, folders and links"));
        }
        // Before anything of it is written.
        let blocks = entry.size.div_ceil(DISK_BLOCK_BYTES).max(1).saturating_mul(DISK_BLOCK_BYTES);
        disk_bytes = disk_bytes.saturating_add(blocks);
        if entry.size > limits.unpacked_bytes || disk_bytes > limits.unpacked_bytes.saturating_add(seen * DISK_BLOCK_BYTES) {
            return Err(LayerError::TooLarge(limits.unpacked_bytes, "bytes of files"));
        }
        put(tar, tree, &entry, &mut buffer)?;
    }
    Ok(disk_bytes)
}

fn put(tar: &mut Tar<impl Read>, tree: &mut Tree, entry: &Entry, buffer: &mut [u8]) -> Result<(), LayerError> {
    let shown = || String::from_utf8_lossy(&entry.path).chars().take(200).collect::<String>();
    let path = parse(&entry.path).map_err(|why| LayerError::Path(shown(), why))?;
    // The root itself.
    let Some((folder, name)) = split(&path) else { return Ok(()) };
    let failed = |error: io::Error| match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            LayerError::Path(shown(), "lies below something that is no folder")
        }
        Some(rustix::io::Errno::NOTEMPTY) => LayerError::Path(shown(), "would replace a folder that is not empty"),
        _ => LayerError::Write(shown(), error),
    };
    if let Some(hidden) = name.as_bytes().strip_prefix(WHITEOUT) {
        return match hidden {
            OPAQUE => tree.put_opaque(folder).map_err(failed),
            // Notes of an old storage driver; never content.
            hidden if hidden.starts_with(WHITEOUT) => Ok(()),
            b"" | b"." | b".." => Err(LayerError::Path(shown(), "hides nothing that can be named")),
            hidden => tree.put_whiteout(folder, OsStr::from_bytes(hidden)).map_err(failed),
        };
    }
    match entry.kind {
        Kind::Folder => tree.put_folder(folder, name).map_err(failed),
        Kind::SymbolicLink if entry.target.is_empty() => Err(LayerError::Path(shown(), "is a link to nothing")),
        Kind::SymbolicLink => tree.put_link(folder, name, &entry.target).map_err(failed),
        Kind::HardLink => {
            let target = parse(&entry.target).map_err(|why| LayerError::Path(shown(), why))?;
            let outside = || LayerError::Path(shown(), "is a hard link to something that its layer does not have");
            let target = split(&target).ok_or_else(outside)?;
            tree.put_hard_link(folder, name, target).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => outside(),
                _ => failed(error),
            })
        }
        Kind::File => {
            let mut file = tree.put_file(folder, name).map_err(failed)?;
            loop {
                match tar.read(buffer)? {
                    0 => break,
                    bytes => file.write_all(&buffer[..bytes]).map_err(failed)?,
                }
            }
            finish(&file, entry.executable, entry.modified).map_err(failed)
        }
        // Sandboxes have their own devices, and the rest needs a host.
        Kind::Special => Ok(()),
    }
}

/// A path of an entry below the layer's root; empty for the root itself.
fn parse(path: &[u8]) -> Result<PathBuf, &'static str> {
    let mut parsed = PathBuf::new();
    for (depth, part) in path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).enumerate() {
        match part {
            b".." => return Err("has `..` in its path"),
            part if part.len() > MAX_NAME_BYTES => return Err("has a name of more than 255 bytes"),
            _ if depth >= MAX_DEPTH => return Err("lies more than 128 folders deep"),
            part => parsed.push(OsStr::from_bytes(part)),
        }
    }
    Ok(parsed)
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    Some((path.parent()?, path.file_name()?))
}

/// By the stream's first bytes, which are what its media type is about.
fn decompress<'a>(stream: &'a mut Watched<impl Read>) -> Result<Box<dyn Read + 'a>, LayerError> {
    let mut first = [0; 4];
    let mut filled = 0;
    while filled < first.len() {
        match stream.read(&mut first[filled..]).map_err(TarError::Read)? {
            0 => break,
            more => filled += more,
        }
    }
    let stream = io::Cursor::new(first).take(filled as u64).chain(stream);
    Ok(match first {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(BufReader::with_capacity(BUFFER_BYTES, stream))),
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Box::new(Frames::new(stream)),
        _ => Box::new(stream),
    })
}

/// A stream that is hashed and counted while it passes.
struct Watched<R> {
    stream: R,
    hash: Sha256,
    left: u64,
    limit: u64,
    what: &'static str,
}

impl<R: Read> Watched<R> {
    fn new(stream: R, limit: u64, what: &'static str) -> Self {
        Self { stream, hash: Sha256::new(), left: limit, limit, what }
    }

    fn digest(&self) -> Digest {
        Digest::from_bytes(self.hash.clone().finalize().into())
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.hash.update(&buffer[..read]);
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| {
            io::Error::new(io::ErrorKind::FileTooLarge, format!("the layer has more than {} {}", self.limit, self.what))
        })?;
        Ok(read)
    }
}
