//! Processes of this machine that carry a mark in their command line.

use std::time::{Duration, Instant};

/// Within this time after its end nothing of a sandbox may be left.
const GONE_LIMIT: Duration = Duration::from_secs(2);
/// How often the processes are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Process ids whose command line has `mark` as a word of its own.
pub(crate) fn marked(mark: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let own = std::process::id();
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .filter(|pid| {
            std::fs::read(format!("/proc/{pid}/cmdline"))
                .is_ok_and(|words| words.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()))
        })
        .collect()
}

/// Waits until no process carries `mark`; the ones that stay are an error.
pub(crate) async fn ends_soon(mark: &str) -> Result<(), String> {
    let start = Instant::now();
    loop {
        let left = marked(mark);
        if left.is_empty() {
            return Ok(());
        }
        if start.elapsed() > GONE_LIMIT {
            return Err(format!("processes {left:?} live on"));
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// The parent of a process.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
