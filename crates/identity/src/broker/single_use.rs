//! Which grants were used: each is accepted once, also across a restart. A log of hashes of `jti` with their expiry, appended
//! and synced before a grant's values leave the broker, and rewritten when most of it has expired.

use std::collections::HashMap;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use base64ct::{Base64UrlUnpadded, Encoding};
use seal::grant::CLOCK_SKEW_SECONDS;
use sha2::{Digest, Sha256};

use crate::disk::{self, DiskError};

/// Most grants that are remembered; more are refused until some have expired.
pub const MAX_REMEMBERED: usize = 1_000_000;
/// Lines beyond those that are needed, after which the log is rewritten.
const REWRITE_LINES: usize = 4096;

/// A `jti` as it is remembered: its SHA-256.
pub type GrantHash = [u8; 32];

/// Why a grant was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    /// It was used before.
    Before,
    /// It expired so long ago, by this broker's clock at some time, that its use may be forgotten.
    Forgotten,
    /// Too many grants are remembered.
    Full,
}

/// The hash of a `jti`.
pub fn grant_hash(jti: &str) -> GrantHash {
    Sha256::digest(jti.as_bytes()).into()
}

/// The memory of used grants; [`UsedGrants::take`] is atomic under its owner's lock.
#[derive(Default)]
pub struct UsedGrants {
    expiries: HashMap<GrantHash, i64>,
    /// Grants that expire before this may be forgotten, seconds since the Unix epoch. It never goes back, even if the clock does.
    horizon: i64,
}

impl UsedGrants {
    /// Takes a grant that expires at `exp` (seconds since the Unix epoch) out of circulation.
    pub fn take(&mut self, grant: GrantHash, exp: i64) -> Result<(), Taken> {
        if exp < self.horizon {
            return Err(Taken::Forgotten);
        }
        if self.expiries.len() >= MAX_REMEMBERED {
            return Err(Taken::Full);
        }
        match self.expiries.entry(grant) {
            std::collections::hash_map::Entry::Occupied(_) => Err(Taken::Before),
            std::collections::hash_map::Entry::Vacant(entry) => {
                entry.insert(exp);
                Ok(())
            }
        }
    }

    /// Forgets what no verifier would accept any more.
    pub fn prune(&mut self, now_seconds: i64) {
        self.horizon = self.horizon.max(now_seconds - CLOCK_SKEW_SECONDS);
        let horizon = self.horizon;
        self.expiries.retain(|_, exp| *exp >= horizon);
    }

    /// How many are remembered.
    pub fn len(&self) -> usize {
        self.expiries.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.expiries.is_empty()
    }

    fn text(&self) -> String {
        let mut text = format!("horizon {}\n", self.horizon);
        for (grant, exp) in &self.expiries {
            push_line(&mut text, grant, *exp);
        }
        text
    }
}

/// Why the log could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum UsedLogError {
    /// The disk refused.
    #[error("the log of used grants cannot be written: {0}")]
    Disk(#[from] DiskError),
    /// A line within it is damaged.
    #[error("{} is damaged: stop all servers for 6 minutes so that every grant has expired, then remove it", .0.display())]
    Malformed(PathBuf),
    /// A sync failed earlier.
    #[error("the log of used grants is in an unknown state after a failed sync: restart the broker")]
    Poisoned,
}

/// The log on disk, with its one writer.
pub struct UsedLog {
    path: PathBuf,
    file: File,
    length: u64,
    lines: usize,
    poisoned: bool,
}

impl UsedLog {
    /// Reads `folder/grants.used`; a torn last line is dropped, since its grant's values never left.
    pub fn open(folder: &Path) -> Result<(Self, UsedGrants), UsedLogError> {
        let path = folder.join("grants.used");
        let (mut file, _) = disk::open_log(&path)?;
        let mut text = String::new();
        file.read_to_string(&mut text).map_err(DiskError::io("read", &path))?;
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        if whole < text.len() {
            file.set_len(whole as u64).map_err(DiskError::io("mend", &path))?;
        }
        let mut used = UsedGrants::default();
        for line in text[..whole].lines() {
            read_line(line, &mut used).ok_or_else(|| UsedLogError::Malformed(path.clone()))?;
        }
        let lines = text[..whole].lines().count();
        Ok((UsedLog { path, file, length: whole as u64, lines, poisoned: false }, used))
    }

    /// Appends grants and syncs once.
    pub fn append(&mut self, grants: &[(GrantHash, i64)]) -> Result<(), UsedLogError> {
        if self.poisoned {
            return Err(UsedLogError::Poisoned);
        }
        if grants.is_empty() {
            return Ok(());
        }
        let mut text = String::new();
        for (grant, exp) in grants {
            push_line(&mut text, grant, *exp);
        }
        if let Err(error) = self.file.write_all(text.as_bytes()) {
            self.poisoned = self.file.set_len(self.length).is_err();
            return Err(DiskError::io("write", &self.path)(error).into());
        }
        if let Err(error) = self.file.sync_data() {
            self.poisoned = true;
            return Err(DiskError::io("sync", &self.path)(error).into());
        }
        self.length += text.len() as u64;
        self.lines += grants.len();
        Ok(())
    }

    /// Whether most of the log has expired.
    pub fn rewrite_due(&self, used: &UsedGrants) -> bool {
        self.lines > 2 * used.len() + REWRITE_LINES
    }

    /// Replaces the log by what is still remembered.
    pub fn rewrite(&mut self, used: &UsedGrants) -> Result<(), UsedLogError> {
        let text = used.text();
        disk::replace(&self.path, text.as_bytes())?;
        let (file, length) = disk::open_log(&self.path)?;
        (self.file, self.length, self.lines) = (file, length, used.len() + 1);
        Ok(())
    }
}

fn push_line(text: &mut String, grant: &GrantHash, exp: i64) {
    text.push_str(&format!("{exp} {}\n", Base64UrlUnpadded::encode_string(grant)));
}

fn read_line(line: &str, used: &mut UsedGrants) -> Option<()> {
    let (first, second) = line.split_once(' ')?;
    if first == "horizon" {
        used.horizon = second.parse().ok()?;
        return Some(());
    }
    let mut grant = GrantHash::default();
    let decoded = Base64UrlUnpadded::decode(second, &mut grant).ok()?.len();
    used.expiries.insert(grant, first.parse().ok()?);
    (decoded == grant.len()).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn a_grant_is_taken_once_also_after_a_restart() {
        let folder = disk::test_folder();
        let (mut log, mut used) = UsedLog::open(folder.path()).unwrap();
        used.take(grant_hash("a"), NOW).unwrap();
        log.append(&[(grant_hash("a"), NOW)]).unwrap();
        assert_eq!(used.take(grant_hash("a"), NOW), Err(Taken::Before));
        let (_, mut used) = UsedLog::open(folder.path()).unwrap();
        assert_eq!(used.take(grant_hash("a"), NOW), Err(Taken::Before));
        assert_eq!(used.take(grant_hash("b"), NOW), Ok(()));
    }

    #[test]
    fn forgets_what_expired_and_never_takes_it_again() {
        let folder = disk::test_folder();
        let (mut log, mut used) = UsedLog::open(folder.path()).unwrap();
        for (jti, exp) in [("a", NOW), ("b", NOW + 300)] {
            used.take(grant_hash(jti), exp).unwrap();
            log.append(&[(grant_hash(jti), exp)]).unwrap();
        }
        used.prune(NOW + CLOCK_SKEW_SECONDS + 1);
        assert_eq!(used.len(), 1);
        log.rewrite(&used).unwrap();
        log.append(&[(grant_hash("c"), NOW + 300)]).unwrap();
        let (_, mut used) = UsedLog::open(folder.path()).unwrap();
        // The clock may have gone back meanwhile: a verifier would accept it, this does not.
        assert_eq!(used.take(grant_hash("a"), NOW), Err(Taken::Forgotten));
        assert_eq!(used.take(grant_hash("b"), NOW + 300), Err(Taken::Before));
        assert_eq!(used.take(grant_hash("c"), NOW + 300), Err(Taken::Before));
    }

    #[test]
    fn a_crash_at_any_byte_loses_the_torn_line_only() {
        let folder = disk::test_folder();
        let path = folder.path().join("grants.used");
        let (mut log, _) = UsedLog::open(folder.path()).unwrap();
        log.append(&[(grant_hash("a"), NOW), (grant_hash("b"), NOW)]).unwrap();
        let whole = std::fs::read(&path).unwrap();
        let line = whole.len() / 2;
        for length in 0..=whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let (mut log, used) = UsedLog::open(folder.path()).unwrap();
            assert_eq!(used.len(), length / line);
            log.append(&[(grant_hash("c"), NOW)]).unwrap();
            assert_eq!(UsedLog::open(folder.path()).unwrap().1.len(), length / line + 1);
        }
    }

    #[test]
    fn a_damaged_line_is_refused() {
        let folder = disk::test_folder();
        let (mut log, _) = UsedLog::open(folder.path()).unwrap();
        log.append(&[(grant_hash("a"), NOW)]).unwrap();
        let path = folder.path().join("grants.used");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replacen("18", "x8", 1)).unwrap();
        assert!(matches!(UsedLog::open(folder.path()), Err(UsedLogError::Malformed(_))));
    }
}
