//! Appending to the trail: a batch of events is written and synced at once; a line that a crash tore off is dropped at the next
//! start, since nobody was answered before its line was synced.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use seal::SigningKey;

use super::canonical::canonical;
use super::record::{Checkpoint, Event, GENESIS, Line, line_hash};
use super::verify::AuditFault;
use crate::disk::{self, DiskError};

/// Longest line, bytes.
pub const MAX_LINE_BYTES: usize = 256 * 1024;
/// Lines after which a checkpoint is due.
pub const CHECKPOINT_LINES: u64 = 64;
/// Name of the file beside the log that holds the last checkpoint.
pub const CHECKPOINT_FILE: &str = "audit.checkpoint";

/// Why the trail could not be opened or written. The broker answers nothing while it cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk refused.
    #[error("the audit trail cannot be written: {0}")]
    Disk(#[from] DiskError),
    /// Its end does not hold together; see `sagewai identity audit verify`.
    #[error("the audit trail is damaged: {0}")]
    Fault(#[from] AuditFault),
    /// A sync failed earlier, so what is on disk is unknown: free space or replace the disk, then restart the broker.
    #[error("the audit trail's state on disk is unknown after a failed sync: restart the broker")]
    Poisoned,
    /// An event is too long to record.
    #[error("an event is longer than 256 KiB")]
    TooLong,
}

/// The trail, open for appending by its one writer.
pub struct AuditLog {
    path: PathBuf,
    file: File,
    length: u64,
    next_seq: u64,
    last_hash: String,
    since_checkpoint: u64,
    poisoned: bool,
    key: SigningKey,
}

impl AuditLog {
    /// Opens `folder/audit.jsonl`, drops a torn last line, and checks its end against the last checkpoint.
    pub fn open(folder: &Path, key: SigningKey) -> Result<Self, LogError> {
        let path = folder.join("audit.jsonl");
        let (mut file, length) = disk::open_log(&path)?;
        let (length, last) = mend(&mut file, length, &path)?;
        let (next_seq, last_hash) = match &last {
            None => (1, GENESIS.to_owned()),
            Some(bytes) => {
                let line: Line = serde_json::from_slice(bytes).map_err(|_| AuditFault::malformed_end())?;
                (line.seq + 1, line_hash(bytes))
            }
        };
        let checkpoint = last_checkpoint(folder)?;
        if let Some(checkpoint) = &checkpoint {
            if !checkpoint.verifies(&key.public_key()) {
                return Err(AuditFault::CheckpointSignature { seq: checkpoint.seq }.into());
            }
            if checkpoint.seq >= next_seq {
                return Err(AuditFault::Truncated { lines: next_seq - 1, checkpoint: checkpoint.seq }.into());
            }
        }
        let since_checkpoint = next_seq - 1 - checkpoint.map_or(0, |checkpoint| checkpoint.seq);
        Ok(AuditLog { path, file, length, next_seq, last_hash, since_checkpoint, poisoned: false, key })
    }

    /// Appends events, each with its time in milliseconds, and syncs once; returns the first one's sequence number. On an error
    /// none is recorded.
    pub fn append(&mut self, events: &[(i64, Event)]) -> Result<u64, LogError> {
        if self.poisoned {
            return Err(LogError::Poisoned);
        }
        let first_seq = self.next_seq;
        let (mut bytes, mut seq, mut hash) = (Vec::new(), self.next_seq, self.last_hash.clone());
        for (time_ms, event) in events {
            let line = Line { seq, time_ms: *time_ms, prev: hash, event: event.clone() };
            let text = canonical(&line).map_err(|_| LogError::TooLong)?;
            if text.len() > MAX_LINE_BYTES {
                return Err(LogError::TooLong);
            }
            hash = line_hash(text.as_bytes());
            bytes.extend_from_slice(text.as_bytes());
            bytes.push(b'\n');
            seq += 1;
        }
        if let Err(error) = self.file.write_all(&bytes) {
            // What was half written is cut off again, so that the next batch follows a whole line.
            self.poisoned = self.file.set_len(self.length).is_err();
            return Err(DiskError::io("write", &self.path)(error).into());
        }
        if let Err(error) = self.file.sync_data() {
            self.poisoned = true;
            return Err(DiskError::io("sync", &self.path)(error).into());
        }
        self.length += bytes.len() as u64;
        self.since_checkpoint += seq - self.next_seq;
        (self.next_seq, self.last_hash) = (seq, hash);
        Ok(first_seq)
    }

    /// From now on every write fails as on a full disk.
    #[cfg(test)]
    pub(crate) fn fill_disk(&mut self) {
        self.file = File::options().append(true).open("/dev/full").expect("/dev/full is there");
    }

    /// Whether so many lines were written that a checkpoint is due.
    pub fn checkpoint_due(&self) -> bool {
        self.since_checkpoint >= CHECKPOINT_LINES
    }

    /// Signs the end of the trail, appends that, and keeps a copy in [`CHECKPOINT_FILE`]; nothing where the last line is covered.
    pub fn checkpoint(&mut self, time_ms: i64) -> Result<Option<Checkpoint>, LogError> {
        if self.since_checkpoint == 0 || self.next_seq == 1 {
            return Ok(None);
        }
        let checkpoint = Checkpoint::sign(self.next_seq - 1, &self.last_hash, &self.key);
        self.append(&[(time_ms, Event::Checkpoint(checkpoint.clone()))])?;
        // The checkpoint's own line needs none.
        self.since_checkpoint = 0;
        let text = canonical(&checkpoint).map_err(|_| LogError::TooLong)?;
        disk::replace(&self.path.with_file_name(CHECKPOINT_FILE), text.as_bytes())?;
        Ok(Some(checkpoint))
    }
}

/// The checkpoint that is kept beside the log.
pub fn last_checkpoint(folder: &Path) -> Result<Option<Checkpoint>, LogError> {
    match disk::read(&folder.join(CHECKPOINT_FILE), MAX_LINE_BYTES as u64) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes).map_err(|_| AuditFault::CheckpointMalformed)?)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Cuts off what follows the last newline; returns the length left and the last line.
fn mend(file: &mut File, length: u64, path: &Path) -> Result<(u64, Option<Vec<u8>>), LogError> {
    let window = length.min(2 * MAX_LINE_BYTES as u64 + 2);
    let mut tail = vec![0; window as usize];
    file.seek(SeekFrom::Start(length - window)).map_err(DiskError::io("read", path))?;
    file.read_exact(&mut tail).map_err(DiskError::io("read", path))?;
    let Some(end) = tail.iter().rposition(|byte| *byte == b'\n') else {
        if window < length {
            return Err(AuditFault::malformed_end().into());
        }
        cut(file, 0, length, path)?;
        return Ok((0, None));
    };
    let start = tail[..end].iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
    let kept = length - window + end as u64 + 1;
    cut(file, kept, length, path)?;
    Ok((kept, Some(tail[start..end].to_vec())))
}

fn cut(file: &mut File, kept: u64, length: u64, path: &Path) -> Result<(), LogError> {
    if kept < length {
        tracing::warn!(bytes = length - kept, "dropped a line of the audit trail that a crash had torn off");
        file.set_len(kept).map_err(DiskError::io("mend", path))?;
        file.sync_data().map_err(DiskError::io("sync", path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::verify::verify_folder;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    fn event(counter: u64) -> (i64, Event) {
        (1000, Event::Started { file_counter: counter })
    }

    #[test]
    fn a_crash_at_any_byte_of_a_line_leaves_a_trail_that_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut log = AuditLog::open(folder.path(), key()).unwrap();
        log.append(&[event(1), event(2)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let first_line = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        drop(log);
        for length in 0..=whole.len() {
            let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
            file.set_len(0).unwrap();
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut log = AuditLog::open(folder.path(), key()).unwrap();
            let expected = if length == whole.len() {
                3
            } else if length >= first_line {
                2
            } else {
                1
            };
            assert_eq!(log.append(&[event(9)]).unwrap(), expected, "{length} bytes left");
            assert_eq!(verify_folder(folder.path(), &key().public_key(), None).unwrap().lines, expected);
        }
    }

    #[test]
    fn a_log_cut_before_its_checkpoint_is_not_continued() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.jsonl");
        let mut log = AuditLog::open(folder.path(), key()).unwrap();
        log.append(&[event(1), event(2)]).unwrap();
        let two = std::fs::read(&path).unwrap();
        log.checkpoint(1000).unwrap();
        drop(log);
        std::fs::write(&path, &two).unwrap();
        assert!(AuditLog::open(folder.path(), key()).is_ok(), "only the checkpoint's own line is gone");
        std::fs::write(&path, &two[..two.len() / 2]).unwrap();
        assert!(matches!(
            AuditLog::open(folder.path(), key()),
            Err(LogError::Fault(AuditFault::Truncated { .. }))
        ));
    }

    #[test]
    fn a_full_disk_records_nothing_and_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path(), key()).unwrap();
        log.append(&[event(1)]).unwrap();
        log.fill_disk();
        assert!(matches!(log.append(&[event(2)]), Err(LogError::Disk(_))));
    }
}
