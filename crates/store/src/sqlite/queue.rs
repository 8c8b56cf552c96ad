//! Reading steps: the queue of the ready ones, leases, and what a run shows.

use bytes::Bytes;
use protocol::id::{AttemptId, RunId, StepId, Timestamp};
use rusqlite::{Connection, Row};
use uuid::Uuid;

use super::error::corrupt;
use super::rows::{self, all, one, page};
use super::turns::id;
use crate::{Lease, ReadyCursor, ReadyStep, Step, StepState, StoreError, sql};

/// Reads a step's columns.
pub(super) fn step(row: &Row<'_>) -> Result<Step, StoreError> {
    let artifacts = row.get_ref(14)?.as_str_or_null().map_err(|_| corrupt("artifacts are not text"))?;
    Ok(Step {
        step: rows::step_id(row, 0)?,
        state: rows::state(row, 1)?,
        attempt: row.get(2)?,
        mode: rows::mode(row, 3)?,
        priority: priority(row, 4)?,
        task: row.get(5)?,
        name: row.get(6)?,
        class: row.get(7)?,
        worker: row.get(8)?,
        sandbox: row.get(9)?,
        ready_at: rows::time(row, 10)?,
        leased_at: rows::optional_time(row, 11)?,
        started_at: rows::optional_time(row, 12)?,
        finished_at: rows::optional_time(row, 13)?,
        artifacts: match artifacts {
            Some(text) => serde_json::from_str(text).map_err(|_| corrupt("artifacts are not a list"))?,
            None => Vec::new(),
        },
        error: rows::optional_bytes(row, 15)?,
    })
}

fn priority(row: &Row<'_>, column: usize) -> Result<i32, StoreError> {
    let urgency: i64 = row.get(column)?;
    i32::try_from(-urgency).map_err(|_| corrupt(format!("urgency {urgency}")))
}

pub(super) fn steps(
    connection: &Connection,
    run: RunId,
    after: Option<StepId>,
    limit: usize,
) -> Result<Vec<Step>, StoreError> {
    let after = after.map_or(-1, |after| i64::from(after.0));
    all(connection, sql::STEPS_AFTER, (id(&run), after, page(limit)), step)
}

pub(super) fn spec(connection: &Connection, run: RunId, step: StepId) -> Result<Option<Bytes>, StoreError> {
    one(connection, sql::SPEC_OF_STEP, (id(&run), step.0), |row| rows::bytes(row, 0))
}

pub(super) fn ready_classes(connection: &Connection) -> Result<Vec<String>, StoreError> {
    all(connection, sql::READY_CLASSES, [], |row| Ok(row.get(0)?))
}

pub(super) fn ready_steps(
    connection: &Connection,
    class: &str,
    after: Option<ReadyCursor>,
    limit: usize,
) -> Result<Vec<ReadyStep>, StoreError> {
    let (urgency, at, run, step) = match after {
        Some(after) => (-i64::from(after.priority), after.at.0, after.run, i64::from(after.step.0)),
        None => (i64::MIN, 0, RunId(Uuid::nil()), 0),
    };
    all(connection, sql::READY_STEPS, (class, urgency, at, id(&run), step, page(limit)), |row| {
        Ok(ReadyStep {
            place: ReadyCursor {
                priority: priority(row, 0)?,
                at: rows::time(row, 1)?,
                run: rows::run_id(row, 2)?,
                step: rows::step_id(row, 3)?,
            },
            attempt: row.get(4)?,
            mode: rows::mode(row, 5)?,
            class: class.to_owned(),
            namespace: row.get(6)?,
            workflow: row.get(7)?,
            workflow_version: row.get(8)?,
            spec: rows::bytes(row, 9)?,
        })
    })
}

pub(super) fn worker_leases(connection: &Connection, worker: &str) -> Result<Vec<Lease>, StoreError> {
    all(connection, sql::LEASES_OF_WORKER, [worker], |row| {
        Ok(Lease {
            attempt: AttemptId {
                run: rows::run_id(row, 0)?,
                step: rows::step_id(row, 1)?,
                attempt: row.get(2)?,
            },
            worker: worker.to_owned(),
            leased_at: rows::optional_time(row, 3)?.unwrap_or_default(),
            started: rows::state(row, 4)? == StepState::Started,
        })
    })
}

pub(super) fn expired_workers(connection: &Connection, now: Timestamp) -> Result<Vec<String>, StoreError> {
    all(connection, sql::WORKERS_EXPIRED, [now.0], |row| Ok(row.get(0)?))
}
