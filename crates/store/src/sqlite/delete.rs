//! Deleting runs that have ended: first the run, so that nobody sees half of it, then what hangs on it, some rows at a time.

use protocol::id::{RunId, Timestamp};
use rusqlite::Connection;

use super::rows::{self, all, all_of, one_of, page};
use super::turns::{STEP_COUNTERS, id};
use super::write::Session;
use crate::{Deleted, RunStatus, StoreError, sql};

/// Runs that ended before a time and may be deleted, in the order of their ids.
pub(super) fn ended(
    connection: &Connection,
    before: Timestamp,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunId>, StoreError> {
    let after = after.unwrap_or(RunId(uuid::Uuid::nil()));
    let made = u64::try_from(before.0).unwrap_or(0);
    let above = RunId(uuid::Builder::from_unix_timestamp_millis(made, &[0; 10]).into_uuid());
    let parameters = (id(&after), id(&above), before.0, page(limit));
    all(connection, sql::RUNS_ENDED, parameters, |row| rows::run_id(row, 0))
}

/// Runs that are half deleted.
pub(super) fn begun(connection: &Connection, limit: usize) -> Result<Vec<RunId>, StoreError> {
    all(connection, sql::DELETIONS, [page(limit)], |row| rows::run_id(row, 0))
}

/// Deletes a run and at most about `limit` rows of what hangs on it.
pub(super) fn run(session: &mut Session, run: RunId, limit: usize) -> Result<Deleted, StoreError> {
    let head = one_of(&mut session.prepare(sql::RUN_HEAD)?, [id(&run)], |row| {
        Ok((rows::status(row, 1)?, row.get::<_, String>(2)?))
    })?;
    if let Some((status, namespace)) = head {
        if !may_go(session, run, status)? {
            return Ok(Deleted::Kept);
        }
        take_out(session, run, status, &namespace)?;
    }
    let mut left = limit;
    for statement in sql::DELETE_PARTS {
        let gone = session.prepare(statement)?.execute((id(&run), page(left)))?;
        left = left.saturating_sub(gone);
        if left == 0 {
            return Ok(Deleted::More);
        }
    }
    session.prepare(sql::DELETION_END)?.execute([id(&run)])?;
    Ok(Deleted::Gone)
}

/// A run is kept while it goes on, while a step or a timer of it is open, or while the run that started it goes on.
fn may_go(session: &Session, run: RunId, status: RunStatus) -> Result<bool, StoreError> {
    if !status.is_final() {
        return Ok(false);
    }
    Ok(one_of(&mut session.prepare(sql::RUN_IS_NEEDED)?, [id(&run)], |_| Ok(()))?.is_none())
}

/// The run is not found any more, and not counted.
fn take_out(session: &mut Session, run: RunId, status: RunStatus, namespace: &str) -> Result<(), StoreError> {
    let steps = all_of(&mut session.prepare(sql::STEPS_BY_STATE)?, [id(&run)], |row| {
        Ok((row.get::<_, u8>(0)?, row.get::<_, i64>(1)?))
    })?;
    session.count(namespace, status as u8, -1);
    for (state, count) in steps {
        session.count(namespace, STEP_COUNTERS + state, -count);
    }
    let labels: String =
        one_of(&mut session.prepare(sql::LABELS_OF_RUN)?, [id(&run)], |row| Ok(row.get(0)?))?
            .unwrap_or_default();
    let labels: std::collections::BTreeMap<String, String> =
        serde_json::from_str(&labels).unwrap_or_default();
    for (key, value) in &labels {
        session.prepare(sql::LABEL_DELETE)?.execute((key, value, id(&run)))?;
    }
    session.prepare(sql::KEYS_DELETE)?.execute([id(&run)])?;
    session.prepare(sql::DELETION_BEGIN)?.execute([id(&run)])?;
    session.prepare(sql::RUN_DELETE)?.execute([id(&run)])?;
    Ok(())
}
