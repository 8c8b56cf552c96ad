//! Looking for bytes where they may not be: in a process's memory, in files.

use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Bytes read from a process at a time.
const PIECE_BYTES: usize = 1 << 20;

/// What was looked through.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) bytes: u64,
    /// Where the needle was, by address or path.
    pub(crate) found: Vec<String>,
}

/// Looks through every readable map of a process.
pub(crate) fn memory(pid: u32, needle: &[u8]) -> Scan {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))
        .unwrap_or_else(|error| panic!("maps of {pid}: {error}"));
    let memory = std::fs::File::open(format!("/proc/{pid}/mem"))
        .unwrap_or_else(|error| panic!("mem of {pid}: {error}"));
    let mut scan = Scan::default();
    let mut piece = vec![0; PIECE_BYTES + needle.len()];
    for map in maps.lines() {
        let Some((range, rest)) = map.split_once(' ') else { continue };
        // The kernel's own pages are not this process's memory.
        if !rest.starts_with('r') || rest.contains("[vvar") || rest.contains("[vsyscall]") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (mut at, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        while at < end {
            let want = piece.len().min((end - at) as usize);
            let Ok(read) = memory.read_at(&mut piece[..want], at) else { break };
            if read == 0 {
                break;
            }
            scan.bytes += read as u64;
            if contains(&piece[..read], needle) {
                scan.found.push(format!("pid {pid} at {at:x} ({rest})"));
            }
            // Pieces overlap, so that nothing hides on a boundary.
            at += if at + (read as u64) < end { (read - needle.len()) as u64 } else { read as u64 };
        }
    }
    scan
}

/// Looks through every file below a folder.
pub(crate) fn files(folder: &Path, needle: &[u8]) -> Scan {
    let mut scan = Scan::default();
    for file in all_files(folder) {
        let mut content = Vec::new();
        let read = std::fs::File::open(&file).and_then(|mut file| {
            file.seek(SeekFrom::Start(0))?;
            file.read_to_end(&mut content)
        });
        if read.is_ok() {
            scan.bytes += content.len() as u64;
            if contains(&content, needle) {
                scan.found.push(file.display().to_string());
            }
        }
    }
    scan
}

pub(crate) fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    let first = needle[0];
    let mut from = 0;
    while let Some(at) = haystack[from..].iter().position(|byte| *byte == first) {
        let start = from + at;
        if haystack[start..].starts_with(needle) {
            return true;
        }
        from = start + 1;
    }
    false
}

fn all_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(all_files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}
