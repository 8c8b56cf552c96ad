//! Columns as types: what rows hold, and what may not be there.

use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};
use protocol::step::Mode;
use rusqlite::{CachedStatement, Connection, Params, Row};
use uuid::Uuid;

use super::error::corrupt;
use crate::{RunStatus, StepState, StoreError};

pub(super) fn run_id(row: &Row<'_>, column: usize) -> Result<RunId, StoreError> {
    let bytes = row.get_ref(column)?.as_blob().map_err(|_| corrupt("a run's id is not bytes"))?;
    Uuid::from_slice(bytes).map(RunId).map_err(|_| corrupt("a run's id is not a UUID"))
}

pub(super) fn step_id(row: &Row<'_>, column: usize) -> Result<StepId, StoreError> {
    Ok(StepId(row.get(column)?))
}

pub(super) fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, StoreError> {
    Ok(Timestamp(row.get(column)?))
}

pub(super) fn optional_time(row: &Row<'_>, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

pub(super) fn bytes(row: &Row<'_>, column: usize) -> Result<Bytes, StoreError> {
    Ok(Bytes::from(row.get::<_, Vec<u8>>(column)?))
}

pub(super) fn optional_bytes(row: &Row<'_>, column: usize) -> Result<Option<Bytes>, StoreError> {
    Ok(row.get::<_, Option<Vec<u8>>>(column)?.map(Bytes::from))
}

pub(super) fn status(row: &Row<'_>, column: usize) -> Result<RunStatus, StoreError> {
    let code: usize = row.get(column)?;
    RunStatus::ALL.get(code).copied().ok_or_else(|| corrupt(format!("run status {code}")))
}

pub(super) fn state(row: &Row<'_>, column: usize) -> Result<StepState, StoreError> {
    let code: usize = row.get(column)?;
    StepState::ALL.get(code).copied().ok_or_else(|| corrupt(format!("step state {code}")))
}

const MODES: [Mode; 5] = [Mode::Bare, Mode::Sandboxed, Mode::Identity, Mode::Full, Mode::FullJit];

pub(super) fn mode(row: &Row<'_>, column: usize) -> Result<Mode, StoreError> {
    let code: usize = row.get(column)?;
    MODES.get(code).copied().ok_or_else(|| corrupt(format!("mode {code}")))
}

pub(super) fn mode_code(mode: Mode) -> u8 {
    match mode {
        Mode::Bare => 0,
        Mode::Sandboxed => 1,
        Mode::Identity => 2,
        Mode::Full => 3,
        Mode::FullJit => 4,
    }
}

/// Runs a query and reads each row.
pub(super) fn all<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    all_of(&mut connection.prepare_cached(sql)?, parameters, read)
}

/// Runs a query that has at most one row.
pub(super) fn one<T>(
    connection: &Connection,
    sql: &str,
    parameters: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    one_of(&mut connection.prepare_cached(sql)?, parameters, read)
}

pub(super) fn all_of<T>(
    statement: &mut CachedStatement<'_>,
    parameters: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let mut rows = statement.query(parameters)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(read(row)?);
    }
    Ok(found)
}

pub(super) fn one_of<T>(
    statement: &mut CachedStatement<'_>,
    parameters: impl Params,
    mut read: impl FnMut(&Row<'_>) -> Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    let mut rows = statement.query(parameters)?;
    rows.next()?.map(&mut read).transpose()
}

/// Rows of a page as a parameter: the wish, cut to the limit.
pub(super) fn page(limit: usize) -> i64 {
    i64::try_from(limit.min(crate::MAX_PAGE_ROWS)).expect("the limit is small")
}
