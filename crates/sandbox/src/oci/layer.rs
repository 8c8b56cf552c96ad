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
        if entry.size > limits.unpacked_bytes
            || disk_bytes > limits.unpacked_bytes.saturating_add(seen * DISK_BLOCK_BYTES)
        {
            return Err(LayerError::TooLarge(limits.unpacked_bytes, "bytes of files"));
        }
        put(tar, tree, &entry, &mut buffer)?;
    }
    Ok(disk_bytes)
}

fn put(
    tar: &mut Tar<impl Read>,
    tree: &mut Tree,
    entry: &Entry,
    buffer: &mut [u8],
) -> Result<(), LayerError> {
    let shown = || String::from_utf8_lossy(&entry.path).chars().take(200).collect::<String>();
    let path = parse(&entry.path).map_err(|why| LayerError::Path(shown(), why))?;
    // The root itself.
    let Some((folder, name)) = split(&path) else { return Ok(()) };
    let failed = |error: io::Error| match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
        Some(rustix::io::Errno::LOOP | rustix::io::Errno::NOTDIR) => {
            LayerError::Path(shown(), "lies below something that is no folder")
        }
        Some(rustix::io::Errno::NOTEMPTY) => {
            LayerError::Path(shown(), "would replace a folder that is not empty")
        }
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
        Kind::SymbolicLink if entry.target.is_empty() => {
            Err(LayerError::Path(shown(), "is a link to nothing"))
        }
        Kind::SymbolicLink => tree.put_link(folder, name, &entry.target).map_err(failed),
        Kind::HardLink => {
            let target = parse(&entry.target).map_err(|why| LayerError::Path(shown(), why))?;
            let outside =
                || LayerError::Path(shown(), "is a hard link to something that its layer does not have");
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
    for (depth, part) in
        path.split(|byte| *byte == b'/').filter(|part| !matches!(*part, b"" | b".")).enumerate()
    {
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
            io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("the layer has more than {} {}", self.limit, self.what),
            )
        })?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

    use super::super::made::{TarWriter, gzip, seal_header};
    use super::*;

    const SMALL: LayerLimits =
        LayerLimits { compressed_bytes: 1 << 20, unpacked_bytes: 1 << 20, entries: 1000 };

    /// Mutated layers that are tried.
    const MUTATIONS: usize = 1500;

    /// A folder for a layer, beside what a hostile one would like to reach.
    struct Place {
        folder: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("a folder");
            fs::create_dir(folder.path().join("layer")).expect("made");
            fs::create_dir(folder.path().join("outside")).expect("made");
            fs::write(folder.path().join("canary"), "alive").expect("written");
            Self { folder }
        }

        fn layer(&self) -> PathBuf {
            self.folder.path().join("layer")
        }

        fn unpack(&self, tar: &[u8]) -> Result<u64, LayerError> {
            let expected = Expected { sent: Digest::of(tar), plain: Digest::of(tar) };
            unpack(tar, &self.layer(), expected, SMALL)
        }

        /// Nothing outside has changed.
        fn assert_unhurt(&self) {
            assert_eq!(fs::read(self.folder.path().join("canary")).expect("the canary"), b"alive");
            let canary = fs::metadata(self.folder.path().join("canary")).expect("the canary");
            assert_eq!((canary.nlink(), canary.permissions().mode() & 0o777), (1, 0o644));
            assert_eq!(fs::read_dir(self.folder.path().join("outside")).expect("outside").count(), 0);
            assert_eq!(fs::read_dir(self.folder.path()).expect("the folder").count(), 3);
        }
    }

    fn opaque(path: &Path) -> bool {
        let mut value = [0; 4];
        rustix::fs::lgetxattr(path, "user.overlay.opaque", &mut value)
            .is_ok_and(|bytes| &value[..bytes] == b"y")
    }

    #[test]
    fn of_the_metadata_only_what_a_step_needs_is_taken_over() {
        let tar = TarWriter::new()
            .folder("./etc/")
            .file("./etc/secret", 0o000, b"readable")
            .file("bin/tool", 0o4750, b"#!")
            .hard_link("bin/same", "bin/tool")
            .link("bin/elsewhere", "/etc/passwd")
            .entry(b'3', "dev/null", "", 0o666, b"")
            .entry(b'6', "run/pipe", "", 0o666, b"")
            .file(&format!("{}/long", "n".repeat(200)), 0o644, b"far");
        let place = Place::new();
        place.unpack(&tar.finish()).expect("unpacked");
        let at = |path: &str| place.layer().join(path);
        let mode = |path: &str| fs::symlink_metadata(at(path)).expect(path).permissions().mode() & 0o7777;
        assert_eq!(
            (mode("etc"), mode("etc/secret"), mode("bin"), mode("bin/tool")),
            (0o755, 0o644, 0o755, 0o755)
        );
        assert_eq!(fs::metadata(at("etc/secret")).expect("there").mtime(), 1_600_000_000);
        assert_eq!(
            fs::metadata(at("bin/same")).expect("there").ino(),
            fs::metadata(at("bin/tool")).expect("there").ino()
        );
        assert_eq!(fs::read_link(at("bin/elsewhere")).expect("a link"), Path::new("/etc/passwd"));
        assert!(!at("dev/null").exists() && !at("run/pipe").exists());
        assert_eq!(fs::read(at(&format!("{}/long", "n".repeat(200)))).expect("there"), b"far");
    }

    #[test]
    fn what_hides_lower_layers_becomes_what_overlayfs_understands() {
        let tar = TarWriter::new()
            .file(".wh.gone", 0o644, b"")
            .folder("new")
            .file("new/.wh..wh..opq", 0o644, b"")
            .file("new/x", 0o644, b"x")
            .file(".wh.swapped", 0o644, b"")
            .file("swapped/x", 0o644, b"x")
            .folder("kept")
            .file(".wh.kept", 0o644, b"")
            .file(".wh..wh.plnk", 0o644, b"");
        // The folder comes after its whiteout, as an entry of its own or not.
        let tar = TarWriter::new().file(".wh.again", 0o644, b"").folder("again").finish()[..1024]
            .iter()
            .chain(&tar.finish())
            .copied()
            .collect::<Vec<u8>>();
        let place = Place::new();
        place.unpack(&tar).expect("unpacked");
        let at = |path: &str| place.layer().join(path);
        let gone = fs::symlink_metadata(at("gone")).expect("a whiteout");
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        for folder in ["new", "again", "swapped", "kept"] {
            assert!(at(folder).is_dir() && opaque(&at(folder)), "{folder}");
        }
        assert!(
            fs::read_dir(place.layer())
                .expect("the layer")
                .flatten()
                .all(|entry| !entry.file_name().to_string_lossy().starts_with(".wh."))
        );
    }

    /// Each of these would, if it were believed, reach beside or above the layer.
    fn hostile_layers(outside: &str) -> BTreeMap<&'static str, TarWriter> {
        let tar = TarWriter::new;
        let deep = "d/".repeat(2000);
        BTreeMap::from([
            ("dots", tar().file("../canary", 0o644, b"dead")),
            ("dots within", tar().folder("a").file("a/../../canary", 0o644, b"dead")),
            ("absolute dots", tar().file("/../canary", 0o644, b"dead")),
            ("through a link", tar().link("l", "../outside").file("l/x", 0o644, b"x")),
            ("through an absolute link", tar().link("l", outside).file("l/x", 0o644, b"x")),
            (
                "through a link of links",
                tar().link("a", "..").link("b", "a/outside").file("b/x", 0o644, b"x"),
            ),
            ("a link as a folder", tar().link("l", "../outside").folder("l").file("l/x", 0o644, b"x")),
            ("over a link", tar().link("l", "../canary").file("l", 0o644, b"dead")),
            ("hard link to dots", tar().hard_link("h", "../canary").file("h", 0o777, b"dead")),
            (
                "hard link through a link",
                tar().link("l", "..").hard_link("h", "l/canary").file("h", 0o777, b"dead"),
            ),
            (
                "hard link to a link",
                tar().link("l", "../canary").hard_link("h", "l").file("h/x", 0o777, b"dead"),
            ),
            ("whiteout of dots", tar().file(".wh...", 0o644, b"")),
            ("whiteout of the root", tar().file(".wh..", 0o644, b"")),
            ("whiteout through a link", tar().link("l", "../outside").file("l/.wh.x", 0o644, b"")),
            ("opaque through a link", tar().link("l", "../outside").file("l/.wh..wh..opq", 0o644, b"")),
            ("a folder through a link", tar().link("l", "../outside").folder("l/made")),
            ("a link through a link", tar().link("l", "../outside").link("l/made", "x")),
            ("zero byte", tar().file("a\0b", 0o644, b"x")),
            ("long name", tar().file(&"n".repeat(300), 0o644, b"x")),
            ("long path", tar().file(&"n/".repeat(2500), 0o644, b"x")),
            ("deep path", tar().file(&deep, 0o644, b"x")),
            ("proc", tar().link("l", "/proc/self/cwd").file("l/x", 0o644, b"x")),
        ])
    }

    #[test]
    fn no_path_leaves_the_layer() {
        for (name, tar) in hostile_layers("/outside-of-everything") {
            let place = Place::new();
            let outcome = place.unpack(&tar.finish());
            place.assert_unhurt();
            let contained = ["a link as a folder", "over a link"].contains(&name);
            assert_eq!(outcome.is_ok(), contained, "{name}: {outcome:?}");
        }
    }

    #[test]
    fn an_absolute_path_is_one_of_the_layer() {
        let place = Place::new();
        place.unpack(&TarWriter::new().file("/etc/x", 0o644, b"x").finish()).expect("unpacked");
        assert!(place.layer().join("etc/x").is_file());
    }

    #[test]
    fn limits_hold_before_anything_is_written_beyond_them() {
        let check = |tar: Vec<u8>, limits: LayerLimits, words: &str| {
            let place = Place::new();
            let digest = Digest::of(&tar);
            let expected = Expected { sent: digest, plain: digest };
            let error = unpack(&tar[..], &place.layer(), expected, limits).expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        };
        let file = TarWriter::new().file("x", 0o644, &[7; 10_000]).finish();
        check(file.clone(), LayerLimits { unpacked_bytes: 5000, ..SMALL }, "bytes of files");
        check(file, LayerLimits { compressed_bytes: 5000, ..SMALL }, "as it is sent");
        let many = (0..20).fold(TarWriter::new(), |tar, n| tar.file(&format!("f{n}"), 0o644, b""));
        check(many.finish(), LayerLimits { entries: 10, ..SMALL }, "files, folders and links");
        let implied = TarWriter::new().file(&"d/".repeat(100), 0o644, b"").file("x", 0o644, b"");
        check(implied.finish(), LayerLimits { entries: 50, ..SMALL }, "files, folders and links");
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        // 64 MiB of zeros behind the end of the archive, some 64 KiB compressed.
        let tar = [TarWriter::new().file("x", 0o644, b"x").finish(), vec![0; 64 << 20]].concat();
        let sent = gzip(&tar);
        let expected = Expected { sent: Digest::of(&sent), plain: Digest::of(&tar) };
        let place = Place::new();
        let error = unpack(&sent[..], &place.layer(), expected, SMALL).expect_err("too large").to_string();
        assert!(error.contains("bytes"), "{error}");
    }

    #[test]
    fn each_compression_is_read_and_each_digest_checked() {
        let tar = TarWriter::new().file("x", 0o644, b"content").finish();
        let frame = |bytes: &[u8]| {
            ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
        };
        let (first, second) = tar.split_at(512);
        let skipped = [&[0x5a, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"abc"].concat();
        for sent in [
            tar.clone(),
            gzip(&tar),
            [gzip(first), gzip(second)].concat(),
            frame(&tar),
            [frame(first), skipped, frame(second)].concat(),
        ] {
            let good = Expected { sent: Digest::of(&sent), plain: Digest::of(&tar) };
            let place = Place::new();
            unpack(&sent[..], &place.layer(), good, SMALL).expect("unpacked");
            assert_eq!(fs::read(place.layer().join("x")).expect("there"), b"content");
            for wrong in [
                Expected { sent: Digest::of(b"other"), ..good },
                Expected { plain: Digest::of(b"other"), ..good },
            ] {
                let place = Place::new();
                let outcome = unpack(&sent[..], &place.layer(), wrong, SMALL);
                assert!(matches!(outcome, Err(LayerError::Digest { .. })), "{outcome:?}");
            }
            let cut = &sent[..sent.len() / 2];
            let outcome = unpack(cut, &Place::new().layer(), good, SMALL);
            assert!(outcome.is_err(), "half a stream was taken for a whole one");
        }
    }

    /// Layers in which anything may be wrong: none escapes, none panics, none goes beyond its limits.
    #[test]
    fn mutated_layers_stay_inside() {
        let seeds: Vec<Vec<u8>> =
            hostile_layers("/outside-of-everything").into_values().map(TarWriter::finish).collect();
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move |below: usize| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            usize::try_from(random % below as u64).expect("small")
        };
        let place = Place::new();
        for _ in 0..MUTATIONS {
            let mut tar = seeds[next(seeds.len())].clone();
            let other = &seeds[next(seeds.len())];
            // Entries of another one in front, so that links and what goes through them meet.
            if next(2) == 0 {
                let end = other.len().saturating_sub(1024);
                tar.splice(0..0, other[..end].iter().copied());
            }
            for _ in 0..next(6) {
                let at = next(tar.len());
                let bytes = [0, b'/', b'.', b'0', b'1', b'2', b'5', b'L', b'x', 0x80, 0xff];
                tar[at] = bytes[next(bytes.len())];
                let header = at / 512 * 512;
                // Most mutations keep a right checksum, or nothing behind it would be tried.
                if next(4) > 0 && tar[header..].len() >= 512 {
                    seal_header(&mut tar[header..header + 512]);
                }
            }
            fs::remove_dir_all(place.layer()).expect("removed");
            fs::create_dir(place.layer()).expect("made");
            let _ = place.unpack(&tar);
            place.assert_unhurt();
        }
    }
}
