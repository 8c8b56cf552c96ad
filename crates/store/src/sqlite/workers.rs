//! Workers as rows.

use bytes::Bytes;
use protocol::id::Timestamp;
use rusqlite::{Connection, Row};

use super::rows::{self, all, one};
use super::write::Session;
use crate::{StoreError, TokenHash, Worker, sql};

pub(super) fn enrol(session: &Session, worker: &Worker) -> Result<(), StoreError> {
    let inserted = session.prepare(sql::WORKER_INSERT)?.execute((
        &worker.name,
        worker.credential,
        &worker.description[..],
        worker.enrolled_at.0,
        worker.alive_until.0,
        worker.draining,
    ))?;
    match inserted {
        0 => Err(StoreError::Exists { what: format!("worker {}", worker.name) }),
        _ => Ok(()),
    }
}

pub(super) fn describe(session: &Session, name: &str, description: &Bytes) -> Result<(), StoreError> {
    session.prepare(sql::WORKER_DESCRIBE)?.execute((&description[..], name))?;
    Ok(())
}

pub(super) fn touch(session: &Session, alive: &[(String, Timestamp)]) -> Result<(), StoreError> {
    let mut touch = session.prepare(sql::WORKER_TOUCH)?;
    for (name, until) in alive {
        touch.execute((until.0, name))?;
    }
    Ok(())
}

pub(super) fn drain(session: &Session, name: &str, draining: bool) -> Result<bool, StoreError> {
    Ok(session.prepare(sql::WORKER_DRAIN)?.execute((draining, name))? > 0)
}

pub(super) fn remove(session: &Session, name: &str) -> Result<bool, StoreError> {
    Ok(session.prepare(sql::WORKER_DELETE)?.execute([name])? > 0)
}

pub(super) fn list(connection: &Connection) -> Result<Vec<Worker>, StoreError> {
    all(connection, sql::WORKERS_ALL, [], worker)
}

pub(super) fn by_hash(connection: &Connection, credential: &TokenHash) -> Result<Option<Worker>, StoreError> {
    one(connection, sql::WORKER_BY_HASH, [credential], worker)
}

fn worker(row: &Row<'_>) -> Result<Worker, StoreError> {
    Ok(Worker {
        name: row.get(0)?,
        credential: row.get(1)?,
        description: rows::bytes(row, 2)?,
        enrolled_at: rows::time(row, 3)?,
        alive_until: rows::time(row, 4)?,
        draining: row.get(5)?,
    })
}
