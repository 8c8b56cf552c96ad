//! Files that come back after the step: a stream of hostile names and sizes into the caller's sink.

use async_trait::async_trait;
use bytes::Bytes;
use protocol::frame::{FromGuest, MAX_DATA_BYTES, ToGuest};

use super::open::{Session, State};
use crate::SandboxError;

/// Bytes of a collected file's path, at most.
const MAX_PATH_BYTES: usize = 4096;
/// Left-out files that are reported, at most.
const MAX_SKIPPED: usize = 1000;
/// Bytes of the reason why a file was left out, at most.
const MAX_REASON_BYTES: usize = 500;

/// Which files to collect, and how much.
#[derive(Clone, Debug)]
pub struct Collect {
    /// Patterns below /workspace with `*` (within a name) and `**` (across folders).
    pub patterns: Vec<String>,
    /// Largest single file, bytes.
    pub max_file_bytes: u64,
    /// Largest sum of all files, bytes.
    pub max_total_bytes: u64,
    /// Most files.
    pub max_files: u32,
}

/// Takes collected files, one after the other: `begin`, `data` until `size` bytes have come, `end`.
#[async_trait]
pub trait ArtifactSink: Send {
    /// A file begins. Its path is relative, `/`-separated, without `.` or `..` parts or control characters.
    async fn begin(&mut self, path: &str, size: u64) -> std::io::Result<()>;
    /// The next bytes of the file.
    async fn data(&mut self, bytes: Bytes) -> std::io::Result<()>;
    /// The file is complete.
    async fn end(&mut self) -> std::io::Result<()>;
}

/// What was collected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Collected {
    /// Files.
    pub files: u32,
    /// Sum of their sizes, bytes.
    pub bytes: u64,
    /// Files that were left out.
    pub skipped: Vec<Skipped>,
}

/// A file that was left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// Path below /workspace, cleaned.
    pub path: String,
    /// Why.
    pub reason: String,
}

/// The file that is coming in.
struct Incoming {
    left: u64,
}

impl Session {
    /// Collects files once, after [`Session::run`] has returned an exit.
    pub async fn collect(
        &mut self,
        what: &Collect,
        sink: &mut dyn ArtifactSink,
    ) -> Result<Collected, SandboxError> {
        if self.state != State::Exited {
            return Err(SandboxError::Order("collects files once, after the step has exited"));
        }
        self.state = State::Over;
        self.outbox.control(ToGuest::Collect {
            patterns: what.patterns.clone(),
            max_file_bytes: what.max_file_bytes,
            max_total_bytes: what.max_total_bytes,
            max_files: what.max_files,
        })?;
        let mut collected = Collected::default();
        let mut incoming: Option<Incoming> = None;
        loop {
            let frame = self.frames.next().await?.ok_or(SandboxError::Ended(None))?;
            match frame {
                FromGuest::Artifact { path, size } => {
                    if incoming.is_some() {
                        return Err(breach("a file within a file"));
                    }
                    admit(&mut collected, what, &path, size)?;
                    sink.begin(&path, size).await.map_err(file)?;
                    incoming = Some(Incoming { left: size });
                }
                FromGuest::ArtifactData { data, last } => {
                    let current = incoming.as_mut().ok_or_else(|| breach("content of no file"))?;
                    take_data(current, &data, last)?;
                    if !data.is_empty() {
                        sink.data(data.into()).await.map_err(file)?;
                    }
                    if last {
                        sink.end().await.map_err(file)?;
                        incoming = None;
                    }
                }
                FromGuest::Collected { skipped } if incoming.is_none() => {
                    collected.skipped = skipped.into_iter().take(MAX_SKIPPED).map(clean_skipped).collect();
                    return Ok(collected);
                }
                FromGuest::Failed { kind, message } => return Err(SandboxError::Refused { kind, message }),
                // Tunnels of processes that outlived the step may still talk; nobody listens.
                FromGuest::TunnelOpen { .. }
                | FromGuest::TunnelData { .. }
                | FromGuest::TunnelCredit { .. }
                | FromGuest::TunnelClose { .. }
                | FromGuest::StdinCredit { .. }
                | FromGuest::Denied { .. } => {}
                _ => return Err(breach("a frame out of place while files are collected")),
            }
        }
    }
}

/// Counts a file against the limits that the guest was told; an honest guest keeps them.
fn admit(collected: &mut Collected, what: &Collect, path: &str, size: u64) -> Result<(), SandboxError> {
    if !is_plain_path(path) {
        return Err(breach("a collected file's path is not plain"));
    }
    collected.files += 1;
    collected.bytes = collected.bytes.saturating_add(size);
    let within = collected.files <= what.max_files
        && size <= what.max_file_bytes
        && collected.bytes <= what.max_total_bytes;
    if within { Ok(()) } else { Err(breach("it sends more files than it was allowed to")) }
}

fn take_data(current: &mut Incoming, data: &[u8], last: bool) -> Result<(), SandboxError> {
    if data.len() > MAX_DATA_BYTES {
        return Err(breach("a data frame is too long"));
    }
    current.left = current
        .left
        .checked_sub(data.len() as u64)
        .ok_or_else(|| breach("a file is longer than it was announced"))?;
    if last && current.left > 0 {
        return Err(breach("a file is shorter than it was announced"));
    }
    Ok(())
}

/// Whether `path` names a file below a folder, whatever the folder, on every system.
pub(super) fn is_plain_path(path: &str) -> bool {
    !path.is_empty()
        && path.len() <= MAX_PATH_BYTES
        && !path.chars().any(|c| c.is_control() || c == '\\')
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn clean_skipped((path, reason): (String, String)) -> Skipped {
    Skipped { path: clean(&path, MAX_PATH_BYTES), reason: clean(&reason, MAX_REASON_BYTES) }
}

/// Text of the guest, shortened and without control characters.
pub(super) fn clean(text: &str, max_bytes: usize) -> String {
    let mut out = String::new();
    for c in text.chars() {
        if out.len() + c.len_utf8() > max_bytes {
            break;
        }
        out.push(if c.is_control() { '\u{fffd}' } else { c });
    }
    out
}

fn breach(what: &str) -> SandboxError {
    SandboxError::Protocol(what.to_owned())
}

fn file(error: std::io::Error) -> SandboxError {
    SandboxError::File(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_paths_are_taken() {
        for path in ["report.txt", "out/a b/ü.json", ".hidden", "a/..b"] {
            assert!(is_plain_path(path), "{path}");
        }
        let long = "a/".repeat(3000);
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/.", "a\0b", "a\nb", "..\\x", &long] {
            assert!(!is_plain_path(path), "{path:?}");
        }
    }
}
