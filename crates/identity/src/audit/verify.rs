//! Verifying the trail: every edit, removal, insertion, reordering, and every cut back to before a checkpoint is found. Lines
//! after the last checkpoint can be cut off unseen by one who can write the folder; keep checkpoints elsewhere to shorten that.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use seal::PublicKey;
use serde::{Deserialize, Serialize};

use super::canonical::canonical;
use super::log::{MAX_LINE_BYTES, last_checkpoint};
use super::record::{Checkpoint, Event, GENESIS, Line, line_hash};

/// What does not hold together, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuditFault {
    /// The file cannot be read.
    #[error("the audit trail cannot be read: {0}")]
    Unreadable(String),
    /// A line is no record, or not in canonical form.
    #[error("line {line} is not a record as the broker writes it")]
    Malformed {
        /// Line of the file, from 1; 0 for the last one.
        line: u64,
    },
    /// A line was removed, inserted or moved.
    #[error("line {line} has sequence number {seq}: a line was removed, inserted or moved")]
    Sequence {
        /// Line of the file, from 1.
        line: u64,
        /// Its sequence number.
        seq: u64,
    },
    /// The line before was changed.
    #[error("line {line} does not follow from the line before it, which was changed")]
    Chain {
        /// Line of the file, from 1.
        line: u64,
    },
    /// A checkpoint speaks of another line.
    #[error("the checkpoint for line {seq} is of another trail")]
    CheckpointHash {
        /// The line it covers.
        seq: u64,
    },
    /// A checkpoint is not signed by the broker.
    #[error("the checkpoint for line {seq} is not signed by the broker's key")]
    CheckpointSignature {
        /// The line it covers.
        seq: u64,
    },
    /// The kept checkpoint is unreadable.
    #[error("the kept checkpoint is malformed")]
    CheckpointMalformed,
    /// Lines that a checkpoint covers are gone.
    #[error("the trail has {lines} lines but a checkpoint covers {checkpoint}: its end was cut off")]
    Truncated {
        /// Lines found.
        lines: u64,
        /// Lines that there must be.
        checkpoint: u64,
    },
}

impl AuditFault {
    pub(super) fn malformed_end() -> Self {
        AuditFault::Malformed { line: 0 }
    }
}

/// A trail that holds together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditReport {
    /// Lines.
    pub lines: u64,
    /// Checkpoints among them, all signed by the broker.
    pub checkpoints: u64,
    /// Lines covered by the last checkpoint.
    pub covered_lines: u64,
    /// Hash of the last line.
    pub last_hash: String,
}

/// Verifies the trail in a broker's folder against the broker's key, the checkpoint kept there, and one that was kept elsewhere.
pub fn verify_folder(
    folder: &Path,
    broker: &PublicKey,
    kept: Option<&Checkpoint>,
) -> Result<AuditReport, AuditFault> {
    let file =
        File::open(folder.join("audit.jsonl")).map_err(|error| AuditFault::Unreadable(error.to_string()))?;
    let beside = last_checkpoint(folder).map_err(|_| AuditFault::CheckpointMalformed)?;
    let checkpoints: Vec<_> = beside.iter().chain(kept).collect();
    verify(BufReader::new(file), broker, &checkpoints)
}

/// Verifies a trail. `kept` are checkpoints from outside of it. A last line without newline is a torn one and is ignored.
pub fn verify(
    trail: impl BufRead,
    broker: &PublicKey,
    kept: &[&Checkpoint],
) -> Result<AuditReport, AuditFault> {
    for checkpoint in kept {
        check_signature(checkpoint, broker)?;
    }
    let mut report = AuditReport { last_hash: GENESIS.into(), ..AuditReport::default() };
    let mut trail = trail;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let read = (&mut trail).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes);
        read.map_err(|error| AuditFault::Unreadable(error.to_string()))?;
        let number = report.lines + 1;
        match bytes.pop() {
            None => break,
            Some(b'\n') => {}
            Some(_) if bytes.len() >= MAX_LINE_BYTES => return Err(AuditFault::Malformed { line: number }),
            Some(_) => break,
        }
        let line = parse(&bytes, number)?;
        if line.seq != number {
            return Err(AuditFault::Sequence { line: number, seq: line.seq });
        }
        if line.prev != report.last_hash {
            return Err(AuditFault::Chain { line: number });
        }
        if let Event::Checkpoint(checkpoint) = &line.event {
            check_signature(checkpoint, broker)?;
            if checkpoint.seq != report.lines || checkpoint.hash != report.last_hash {
                return Err(AuditFault::CheckpointHash { seq: checkpoint.seq });
            }
            report.checkpoints += 1;
            report.covered_lines = checkpoint.seq;
        }
        report.lines = number;
        report.last_hash = line_hash(&bytes);
        if kept.iter().any(|checkpoint| checkpoint.seq == number && checkpoint.hash != report.last_hash) {
            return Err(AuditFault::CheckpointHash { seq: number });
        }
    }
    match kept.iter().map(|checkpoint| checkpoint.seq).max() {
        Some(checkpoint) if checkpoint > report.lines => {
            Err(AuditFault::Truncated { lines: report.lines, checkpoint })
        }
        covered => {
            report.covered_lines = report.covered_lines.max(covered.unwrap_or(0));
            Ok(report)
        }
    }
}

fn parse(bytes: &[u8], number: u64) -> Result<Line, AuditFault> {
    let malformed = AuditFault::Malformed { line: number };
    let line: Line = serde_json::from_slice(bytes).map_err(|_| malformed.clone())?;
    match canonical(&line) {
        Ok(text) if text.as_bytes() == bytes => Ok(line),
        _ => Err(malformed),
    }
}

fn check_signature(checkpoint: &Checkpoint, broker: &PublicKey) -> Result<(), AuditFault> {
    if checkpoint.verifies(broker) {
        Ok(())
    } else {
        Err(AuditFault::CheckpointSignature { seq: checkpoint.seq })
    }
}

#[cfg(test)]
mod tests {
    use seal::SigningKey;

    use super::*;
    use crate::audit::AuditLog;

    fn key() -> SigningKey {
        SigningKey::from_seed(&[1; 32])
    }

    /// Four events, a checkpoint, two events; the text and the kept checkpoint.
    fn sample() -> (String, Checkpoint) {
        let folder = tempfile::tempdir().unwrap();
        let mut log = AuditLog::open(folder.path(), key()).unwrap();
        let event = |n| (n as i64, Event::Released { worker: "w".into(), grant: format!("g{n}") });
        log.append(&[event(1), event(2), event(3), event(4)]).unwrap();
        let checkpoint = log.checkpoint(5).unwrap().unwrap();
        log.append(&[event(6), event(7)]).unwrap();
        (std::fs::read_to_string(folder.path().join("audit.jsonl")).unwrap(), checkpoint)
    }

    fn check(lines: &[&str], kept: &Checkpoint) -> Result<AuditReport, AuditFault> {
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        verify(text.as_bytes(), &key().public_key(), &[kept])
    }

    #[test]
    fn an_untouched_trail_verifies() {
        let (text, kept) = sample();
        let report = check(&text.lines().collect::<Vec<_>>(), &kept).unwrap();
        assert_eq!((report.lines, report.checkpoints, report.covered_lines), (7, 1, 4));
    }

    #[test]
    fn edits_are_found() {
        let (text, kept) = sample();
        for at in 0..6 {
            let mut lines: Vec<_> = text.lines().collect();
            let edited = lines[at].replacen("time_ms\":", "time_ms\":1", 1);
            lines[at] = &edited;
            assert!(check(&lines, &kept).is_err(), "line {}", at + 1);
        }
        let mut lines: Vec<_> = text.lines().collect();
        let spaced = lines[6].replacen(':', ": ", 1);
        lines[6] = &spaced;
        assert_eq!(check(&lines, &kept), Err(AuditFault::Malformed { line: 7 }));
    }

    #[test]
    fn removed_repeated_and_moved_lines_are_found() {
        let (text, kept) = sample();
        let lines: Vec<_> = text.lines().collect();
        for at in 0..6 {
            let mut removed = lines.clone();
            removed.remove(at);
            assert!(
                matches!(check(&removed, &kept), Err(AuditFault::Sequence { .. })),
                "without line {}",
                at + 1
            );
            let mut swapped = lines.clone();
            swapped.swap(at, at + 1);
            assert!(matches!(check(&swapped, &kept), Err(AuditFault::Sequence { .. })), "swapped {}", at + 1);
            let mut repeated = lines.clone();
            repeated.insert(at, lines[at]);
            assert!(check(&repeated, &kept).is_err(), "repeated {}", at + 1);
        }
    }

    #[test]
    fn a_cut_to_before_the_checkpoint_is_found() {
        let (text, kept) = sample();
        let lines: Vec<_> = text.lines().collect();
        for left in 0..4 {
            let expected = AuditFault::Truncated { lines: left as u64, checkpoint: 4 };
            assert_eq!(check(&lines[..left], &kept), Err(expected));
        }
    }

    /// One who rewrites the whole chain cannot sign its checkpoints, nor make it agree with the kept one.
    #[test]
    fn a_rewritten_chain_is_found() {
        let (text, kept) = sample();
        let mut hash = GENESIS.to_owned();
        let rewritten: Vec<String> = text
            .lines()
            .map(|text| {
                let mut line: Line = serde_json::from_str(text).unwrap();
                line.time_ms += 1;
                line.prev = hash.clone();
                let text = canonical(&line).unwrap();
                hash = line_hash(text.as_bytes());
                text
            })
            .collect();
        let lines: Vec<_> = rewritten.iter().map(String::as_str).collect();
        assert_eq!(check(&lines, &kept), Err(AuditFault::CheckpointHash { seq: 4 }));
        assert_eq!(check(&lines[..4], &kept), Err(AuditFault::CheckpointHash { seq: 4 }));
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let without_kept = verify(text.as_bytes(), &key().public_key(), &[]);
        assert_eq!(without_kept, Err(AuditFault::CheckpointHash { seq: 4 }));
        let forged = Checkpoint::sign(4, "x", &SigningKey::from_seed(&[2; 32]));
        assert_eq!(check(&lines, &forged), Err(AuditFault::CheckpointSignature { seq: 4 }));
    }
}
