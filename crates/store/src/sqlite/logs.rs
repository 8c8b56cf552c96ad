//! The index of logs as rows.

use std::collections::BTreeMap;

use protocol::id::{AttemptId, RunId, StepId};
use rusqlite::{Connection, Row, params};

use super::error::corrupt;
use super::rows::{self, all, one_of, page};
use super::turns::id;
use super::write::Session;
use crate::blob::BlobId;
use crate::{LogBody, LogChunk, LogCursor, LogFilter, MAX_LOG_BYTES_PER_STEP, StoreError, sql};

/// Appends chunks; answers the steps of which chunks were dropped.
pub(super) fn append(session: &Session, chunks: &[LogChunk]) -> Result<Vec<(RunId, StepId)>, StoreError> {
    let mut cut = Vec::new();
    let mut by_step: BTreeMap<(RunId, StepId), Vec<&LogChunk>> = BTreeMap::new();
    for chunk in chunks {
        by_step.entry((chunk.attempt.run, chunk.attempt.step)).or_default().push(chunk);
    }
    for ((run, step), chunks) in by_step {
        let stored =
            one_of(&mut session.prepare(sql::LOG_BYTES)?, (id(&run), step.0), |row| Ok(row.get(0)?))?;
        let mut bytes: u64 = stored.unwrap_or(0);
        for chunk in chunks {
            let after = bytes.saturating_add(chunk.body.size());
            if after > MAX_LOG_BYTES_PER_STEP {
                if !cut.contains(&(run, step)) && !is_stored(session, chunk)? {
                    cut.push((run, step));
                }
            } else if insert(session, chunk)? {
                bytes = after;
            }
        }
        session.prepare(sql::LOG_BYTES_PUT)?.execute((id(&run), step.0, bytes))?;
    }
    Ok(cut)
}

/// Whether the chunk was not there yet.
fn insert(session: &Session, chunk: &LogChunk) -> Result<bool, StoreError> {
    let (inline, blob) = match &chunk.body {
        LogBody::Inline(bytes) => (Some(&bytes[..]), None),
        LogBody::Blob { blob, .. } => (None, Some(*blob)),
    };
    let AttemptId { run, step, attempt } = chunk.attempt;
    let inserted = session.prepare(sql::LOG_INSERT)?.execute(params![
        id(&run),
        step.0,
        attempt,
        chunk.sequence,
        chunk.stream,
        chunk.at.0,
        chunk.body.size(),
        inline,
        blob.map(|blob| blob.0),
    ])?;
    if let Some(blob) = blob {
        session.prepare(sql::BLOB_USE_INSERT)?.execute((blob.0, id(&run)))?;
    }
    Ok(inserted > 0)
}

/// A chunk that is sent again is no loss, though it would not fit.
fn is_stored(session: &Session, chunk: &LogChunk) -> Result<bool, StoreError> {
    let AttemptId { run, step, attempt } = chunk.attempt;
    let mut find = session.prepare(sql::LOG_FIND)?;
    Ok(one_of(&mut find, (id(&run), step.0, attempt, chunk.sequence), |_| Ok(()))?.is_some())
}

pub(super) fn read(
    connection: &Connection,
    filter: LogFilter,
    after: Option<LogCursor>,
    limit: usize,
) -> Result<Vec<LogChunk>, StoreError> {
    let run = filter.run;
    let read = |row: &Row<'_>| chunk(run, row);
    let (after_step, attempt, sequence) = match after {
        Some(after) => (
            i64::from(after.step.0),
            i64::from(after.attempt),
            i64::try_from(after.sequence).unwrap_or(i64::MAX),
        ),
        None => (-1, -1, -1),
    };
    match filter.step {
        None => {
            all(connection, sql::LOGS_OF_RUN, (id(&run), after_step, attempt, sequence, page(limit)), read)
        }
        Some(step) if after_step < i64::from(step.0) => {
            all(connection, sql::LOGS_OF_STEP, (id(&run), step.0, -1, -1, page(limit)), read)
        }
        Some(step) if after_step == i64::from(step.0) => {
            all(connection, sql::LOGS_OF_STEP, (id(&run), step.0, attempt, sequence, page(limit)), read)
        }
        Some(_) => Ok(Vec::new()),
    }
}

fn chunk(run: RunId, row: &Row<'_>) -> Result<LogChunk, StoreError> {
    let inline = rows::optional_bytes(row, 6)?;
    let blob = row.get::<_, Option<[u8; 32]>>(7)?;
    let body = match (inline, blob) {
        (Some(bytes), None) => LogBody::Inline(bytes),
        (None, Some(blob)) => LogBody::Blob { blob: BlobId(blob), size: row.get(5)? },
        _ => return Err(corrupt("a log chunk is not in one place")),
    };
    Ok(LogChunk {
        attempt: AttemptId { run, step: rows::step_id(row, 0)?, attempt: row.get(1)? },
        sequence: row.get(2)?,
        stream: row.get(3)?,
        at: rows::time(row, 4)?,
        body,
    })
}
