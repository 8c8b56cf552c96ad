//! Retention: runs that ended long ago, or of which there are too many, are deleted in the background, a few at a time. What
//! goes on, and what a run that goes on needs, is never deleted; the store sees to that.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use protocol::id::{RunId, Timestamp};
use store::{Deleted, RunStatus, StoreError};

use crate::core::Core;

/// How often is looked for runs to delete.
const PASS: Duration = Duration::from_secs(60);
/// A run that has just ended is kept, whatever the settings: who waits for it reads it yet.
const GRACE_MS: i64 = 60_000;
/// Runs that are deleted at once, in one commit.
const RUNS_AT_ONCE: usize = 64;
/// Rows of a run that one commit deletes.
const ROWS_AT_ONCE: usize = 1000;
/// Rest between two commits, for those who wait for the store.
const REST: Duration = Duration::from_millis(5);

/// Which ended runs are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeepRuns {
    /// Those that ended within this time; `None` keeps them for ever.
    pub age: Option<Duration>,
    /// So many at most, the newest; `None` sets no limit.
    pub count: Option<u64>,
}

/// Deletes for ever; at once if everything is kept.
pub(crate) async fn run(core: Arc<Core>, keep: KeepRuns) {
    if keep == KeepRuns::default() {
        std::future::pending::<()>().await;
    }
    loop {
        let begun = core.clock.now();
        match pass(&core, keep).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "ended runs were deleted"),
            Err(error) => tracing::warn!(%error, "failed to delete ended runs; trying again later"),
        }
        core.clock.sleep_until(begun.plus(milliseconds(PASS))).await;
    }
}

async fn pass(core: &Core, keep: KeepRuns) -> Result<u64, StoreError> {
    loop {
        let begun = core.store.begun_deletions(RUNS_AT_ONCE).await?;
        if begun.is_empty() {
            break;
        }
        delete(core, begun).await?;
    }
    let latest = core.clock.now().plus(-GRACE_MS);
    let mut deleted = 0;
    if let Some(age) = keep.age {
        let before = Timestamp(latest.0.min(core.clock.now().0 - milliseconds(age)));
        deleted += delete_oldest(core, before, u64::MAX).await?;
    }
    if let Some(count) = keep.count {
        let counts = core.store.counts(None).await?;
        let ended: u64 = RunStatus::ALL
            .into_iter()
            .filter(|status| status.is_final())
            .map(|status| counts.runs(status))
            .sum();
        deleted += delete_oldest(core, latest, ended.saturating_sub(count)).await?;
    }
    Ok(deleted)
}

/// Deletes runs that ended before a time, the oldest first, `most` of them.
async fn delete_oldest(core: &Core, before: Timestamp, most: u64) -> Result<u64, StoreError> {
    let (mut after, mut deleted) = (None, 0);
    while deleted < most {
        let wanted = usize::try_from(most - deleted).unwrap_or(usize::MAX).min(RUNS_AT_ONCE);
        let page = core.store.ended_runs(before, after, wanted).await?;
        let Some(last) = page.last() else { break };
        after = Some(*last);
        deleted += delete(core, page).await?;
    }
    Ok(deleted)
}

/// Deletes runs to their last row; answers how many were not kept.
async fn delete(core: &Core, runs: Vec<RunId>) -> Result<u64, StoreError> {
    let (mut left, mut gone) = (runs, 0);
    while !left.is_empty() {
        let calls = left.iter().map(|run| core.store.delete_run(*run, ROWS_AT_ONCE));
        let answers = join_all(calls).await;
        let mut more = Vec::new();
        for (run, answer) in left.into_iter().zip(answers) {
            match answer? {
                Deleted::Gone => gone += 1,
                Deleted::More => more.push(run),
                Deleted::Kept => {}
            }
        }
        left = more;
        tokio::time::sleep(REST).await;
    }
    Ok(gone)
}

fn milliseconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}
