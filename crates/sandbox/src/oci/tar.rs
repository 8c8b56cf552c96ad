//! Reads a tar stream entry by entry: ustar, the long names of GNU, the paths of PAX (POSIX.1-2017, `pax`). Every length is
//! checked before anything of it is kept, which is why this is a reader of our own.

use std::io::{self, Read};

use super::limits::{MAX_EXTENSION_BYTES, MAX_PATH_BYTES};

/// Bytes of a tar block.
const BLOCK: usize = 512;
/// Extensions in front of one entry, at most.
const MAX_EXTENSIONS: u32 = 8;

/// What is wrong with a stream.
#[derive(Debug, thiserror::Error)]
pub(super) enum TarError {
    /// It could not be read; this is also how a decompressor says that its input is broken.
    #[error("{0}")]
    Read(#[from] io::Error),
    /// It is no tar stream, or a damaged one.
    #[error("the layer is damaged: {0}")]
    Damaged(&'static str),
    /// It is one, of a kind that images do not have.
    #[error("the layer has {0}, which images may not have")]
    Unsupported(&'static str),
}

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    HardLink,
    SymbolicLink,
    Folder,
    /// A device or a pipe.
    Special,
}

/// An entry; its content comes from [`Tar::read`].
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    /// As written, hostile.
    pub(super) path: Vec<u8>,
    /// As written, hostile; empty unless a link.
    pub(super) target: Vec<u8>,
    pub(super) executable: bool,
    /// Seconds since 1970.
    pub(super) modified: u64,
    pub(super) size: u64,
}

/// A tar stream at the start of an entry or in its content.
pub(super) struct Tar<R> {
    stream: R,
    /// Content of the current entry that was not read.
    left: u64,
    /// Zero bytes that fill its last block.
    padding: u64,
}

/// What extensions say of the entry that follows them.
#[derive(Default)]
struct Extension {
    path: Option<Vec<u8>>,
    target: Option<Vec<u8>>,
    /// Bytes, where PAX says so.
    size: Option<u64>,
}

impl<R: Read> Tar<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { stream, left: 0, padding: 0 }
    }

    /// The next entry; what is unread of the last one is skipped. `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extension = Extension::default();
        for _ in 0..=MAX_EXTENSIONS {
            self.skip()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let size = match (header[156], extension.size) {
                // Links, folders and devices have no content, whatever is written here.
                (b'1'..=b'6', _) => 0,
                (b'0' | 0 | b'7', Some(size)) => size,
                _ => number(&header[124..136])?,
            };
            self.left = size;
            self.padding = size.wrapping_neg() % BLOCK as u64;
            let kind = match header[156] {
                b'0' | 0 | b'7' => Kind::File,
                b'1' => Kind::HardLink,
                b'2' => Kind::SymbolicLink,
                b'5' => Kind::Folder,
                b'3' | b'4' | b'6' => Kind::Special,
                b'L' => {
                    extension.path = Some(until_zero(&self.extension()?).to_vec());
                    continue;
                }
                b'K' => {
                    extension.target = Some(until_zero(&self.extension()?).to_vec());
                    continue;
                }
                b'x' => {
                    let records = self.extension()?;
                    extension.read_pax(&records)?;
                    continue;
                }
                // What holds for all entries that follow: nothing of it concerns us, but it counts as an extension.
                b'g' => {
                    self.extension()?;
                    continue;
                }
                b'S' => return Err(TarError::Unsupported("a sparse file")),
                _ => return Err(TarError::Unsupported("an entry of an unknown kind")),
            };
            return self.entry(kind, &header, extension).map(Some);
        }
        Err(TarError::Damaged("too many extensions in front of an entry"))
    }

    fn entry(&mut self, kind: Kind, header: &[u8; BLOCK], extension: Extension) -> Result<Entry, TarError> {
        let path = extension.path.unwrap_or_else(|| {
            let name = until_zero(&header[..100]);
            let prefix = until_zero(&header[345..500]);
            // GNU's own format keeps other things where ustar has a prefix.
            let has_prefix = &header[257..263] == b"ustar\0" && !prefix.is_empty();
            if has_prefix { [prefix, b"/", name].concat() } else { name.to_vec() }
        });
        let target = match kind {
            Kind::HardLink | Kind::SymbolicLink => {
                extension.target.unwrap_or_else(|| until_zero(&header[157..257]).to_vec())
            }
            Kind::File | Kind::Folder | Kind::Special => Vec::new(),
        };
        if path.len() > MAX_PATH_BYTES || target.len() > MAX_PATH_BYTES {
            return Err(TarError::Unsupported("a path of more than 4095 bytes"));
        }
        if path.contains(&0) || target.contains(&0) {
            return Err(TarError::Damaged("a path has a zero byte"));
        }
        // Old writers mark folders by a slash alone.
        let kind = if kind == Kind::File && path.ends_with(b"/") { Kind::Folder } else { kind };
        Ok(Entry {
            kind,
            path,
            target,
            executable: number(&header[100..108])? & 0o111 != 0,
            modified: number(&header[136..148]).unwrap_or(0),
            size: self.left,
        })
    }

    /// Content of the current entry; nothing more at its end.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.stream.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(TarError::Damaged("it ends within a file"));
        }
        self.left -= read as u64;
        Ok(read)
    }

    /// The stream behind the last entry: the digest is of all of it.
    pub(super) fn into_stream(self) -> R {
        self.stream
    }

    fn skip(&mut self) -> Result<(), TarError> {
        let unread = self.left.checked_add(self.padding).ok_or(TarError::Damaged("a size is too large"))?;
        (self.left, self.padding) = (0, 0);
        let skipped = io::copy(&mut self.stream.by_ref().take(unread), &mut io::sink())?;
        if skipped == unread { Ok(()) } else { Err(TarError::Damaged("it ends within a file")) }
    }

    /// The next header that is none of zeros; `None` at the end.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.stream.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(TarError::Damaged("it ends within a header")),
                Ok(more) => filled += more,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let expected = number(&block[148..156])?;
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        let stored: u64 = block[148..156].iter().map(|byte| u64::from(*byte)).sum();
        // The sum is taken with spaces in its own place.
        if sum - stored + 8 * u64::from(b' ') != expected {
            return Err(TarError::Damaged("a header's checksum is wrong"));
        }
        Ok(Some(block))
    }

    fn extension(&mut self) -> Result<Vec<u8>, TarError> {
        if self.left > MAX_EXTENSION_BYTES {
            return Err(TarError::Unsupported("an extension header of more than 64 KiB"));
        }
        let mut bytes = vec![0; usize::try_from(self.left).unwrap_or(0)];
        let mut filled = 0;
        while filled < bytes.len() {
            filled += self.read(&mut bytes[filled..])?;
        }
        Ok(bytes)
    }
}

impl Extension {
    /// Reads PAX records, `LENGTH KEY=VALUE\n` each.
    fn read_pax(&mut self, mut records: &[u8]) -> Result<(), TarError> {
        const DAMAGED: TarError = TarError::Damaged("a PAX record is malformed");
        while !records.is_empty() {
            let space = records.iter().take(8).position(|byte| *byte == b' ').ok_or(DAMAGED)?;
            let length = std::str::from_utf8(&records[..space]).ok().and_then(|text| text.parse().ok());
            let length: usize = length.ok_or(DAMAGED)?;
            let record = records.get(space + 1..length).ok_or(DAMAGED)?;
            records = &records[length..];
            let record = record.strip_suffix(b"\n").ok_or(DAMAGED)?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or(DAMAGED)?;
            let (key, value) = (&record[..equals], &record[equals + 1..]);
            match key {
                b"path" => self.path = Some(value.to_vec()),
                b"linkpath" => self.target = Some(value.to_vec()),
                b"size" => {
                    let size = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
                    self.size = Some(size.ok_or(DAMAGED)?);
                }
                key if key.starts_with(b"GNU.sparse.") => return Err(TarError::Unsupported("a sparse file")),
                // Times, owners and extended attributes, file capabilities among them, are not taken over.
                _ => {}
            }
        }
        Ok(())
    }
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// A number of a header: octal text, or binary where the first bit is set.
fn number(field: &[u8]) -> Result<u64, TarError> {
    const DAMAGED: TarError = TarError::Damaged("a header's number is malformed");
    if field.first().is_some_and(|first| first & 0x80 != 0) {
        let (high, low) = field.split_at(field.len().saturating_sub(8));
        let fits =
            high.iter().enumerate().all(|(place, byte)| if place == 0 { *byte == 0x80 } else { *byte == 0 });
        let low: [u8; 8] = low.try_into().map_err(|_| DAMAGED)?;
        // A number of eight bytes has the mark in the number itself.
        let mask = if high.is_empty() { u64::MAX >> 1 } else { u64::MAX };
        return if fits { Ok(u64::from_be_bytes(low) & mask) } else { Err(DAMAGED) };
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
    text.iter().try_fold(0_u64, |number, digit| match digit {
        b'0'..=b'7' => number
            .checked_mul(8)
            .and_then(|number| number.checked_add(u64::from(digit - b'0')))
            .ok_or(DAMAGED),
        _ => Err(DAMAGED),
    })
}
