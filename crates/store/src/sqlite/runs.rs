//! Reading runs: summaries, values, history, timers, counts.

use protocol::id::{RunId, TimerId, Timestamp};
use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};
use uuid::Uuid;

use super::error::corrupt;
use super::rows::{self, all, one, page};
use super::turns::{ERROR, INPUT, OUTPUT, STEP_COUNTERS, id};
use crate::blob::BlobId;
use crate::{
    Counts, HistoryEntry, LoadedRun, Parent, RunFilter, RunPage, RunSummary, RunValues, Snapshot, StoreError,
    Timer, sql,
};

pub(super) fn summary(connection: &Connection, run: RunId) -> Result<Option<RunSummary>, StoreError> {
    one(connection, sql::RUN_BY_ID, [id(&run)], read_summary)
}

fn read_summary(row: &Row<'_>) -> Result<RunSummary, StoreError> {
    let labels = row.get_ref(4)?.as_str().map_err(|_| corrupt("labels are not text"))?;
    let parent = match row.get::<_, Option<u32>>(8)? {
        Some(child) => Some(Parent { run: rows::run_id(row, 7)?, child }),
        None => None,
    };
    Ok(RunSummary {
        run: rows::run_id(row, 0)?,
        namespace: row.get(1)?,
        workflow: row.get(2)?,
        workflow_version: row.get(3)?,
        labels: serde_json::from_str(labels).map_err(|_| corrupt("labels are not an object"))?,
        status: rows::status(row, 5)?,
        version: row.get(6)?,
        parent,
        created_at: rows::time(row, 9)?,
        updated_at: rows::time(row, 10)?,
        finished_at: rows::optional_time(row, 11)?,
    })
}

pub(super) fn values(connection: &Connection, run: RunId) -> Result<Option<RunValues>, StoreError> {
    let mut input = None;
    let mut values = RunValues::default();
    all(connection, sql::VALUES_OF_RUN, [id(&run)], |row| {
        let value = rows::bytes(row, 1)?;
        match row.get::<_, u8>(0)? {
            INPUT => input = Some(value),
            OUTPUT => values.output = Some(value),
            ERROR => values.error = Some(value),
            kind => return Err(corrupt(format!("value of kind {kind}"))),
        }
        Ok(())
    })?;
    Ok(input.map(|input| RunValues { input, ..values }))
}

pub(super) fn page_of(
    connection: &Connection,
    run: RunId,
    steps: usize,
) -> Result<Option<RunPage>, StoreError> {
    let Some(summary) = summary(connection, run)? else { return Ok(None) };
    let values = values(connection, run)?.ok_or_else(|| corrupt(format!("run {run} has no input")))?;
    Ok(Some(RunPage { summary, values, steps: super::queue::steps(connection, run, None, steps)? }))
}

pub(super) fn load(connection: &Connection, run: RunId) -> Result<Option<LoadedRun>, StoreError> {
    let Some(summary) = summary(connection, run)? else { return Ok(None) };
    let snapshot = one(connection, sql::SNAPSHOT_OF_RUN, [id(&run)], |row| {
        Ok(Snapshot { version: row.get(0)?, state: rows::bytes(row, 1)? })
    })?;
    let from = snapshot.as_ref().map_or(0, |snapshot| snapshot.version);
    Ok(Some(LoadedRun {
        summary,
        snapshot,
        events: all(connection, sql::EVENTS_AFTER, (id(&run), from, i64::MAX), read_event)?,
        open_steps: all(connection, sql::STEPS_OPEN, [id(&run)], super::queue::step)?,
        timers: all(connection, sql::TIMERS_OF_RUN, [id(&run)], read_timer)?,
    }))
}

pub(super) fn history(
    connection: &Connection,
    run: RunId,
    after: u64,
    limit: usize,
) -> Result<Vec<HistoryEntry>, StoreError> {
    let after = i64::try_from(after).unwrap_or(i64::MAX);
    all(connection, sql::EVENTS_AFTER, (id(&run), after, page(limit)), read_event)
}

fn read_event(row: &Row<'_>) -> Result<HistoryEntry, StoreError> {
    Ok(HistoryEntry {
        number: row.get(0)?,
        at: rows::time(row, 1)?,
        event: rows::bytes(row, 2)?,
        notes: rows::bytes(row, 3)?,
    })
}

pub(super) fn unfinished(
    connection: &Connection,
    after: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunId>, StoreError> {
    let after = after.unwrap_or(RunId(Uuid::nil()));
    all(connection, sql::RUNS_UNFINISHED, (id(&after), page(limit)), |row| rows::run_id(row, 0))
}

/// Lists runs. A status is indexed within its namespace: asked for in all of them, it is looked up in each that has it.
pub(super) fn list(
    connection: &Connection,
    filter: &RunFilter,
    before: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunSummary>, StoreError> {
    let narrowed = filter.label.is_some() || filter.parent.is_some();
    let (None, Some(status), false) = (&filter.namespace, filter.status, narrowed) else {
        return list_one(connection, filter, before, limit);
    };
    let namespaces =
        all(connection, sql::NAMESPACES_WITH, [status as u8], |row| Ok(row.get::<_, String>(0)?))?;
    let mut found = Vec::new();
    for namespace in namespaces {
        let filter = RunFilter { namespace: Some(namespace), ..filter.clone() };
        found.extend(list_one(connection, &filter, before, limit)?);
    }
    found.sort_by_key(|summary| std::cmp::Reverse(summary.run));
    found.truncate(limit.min(crate::MAX_PAGE_ROWS));
    Ok(found)
}

fn list_one(
    connection: &Connection,
    filter: &RunFilter,
    before: Option<RunId>,
    limit: usize,
) -> Result<Vec<RunSummary>, StoreError> {
    let (text, parameters) = list_statement(filter, before, limit);
    all(connection, &text, params_from_iter(parameters), read_summary)
}

fn list_statement(filter: &RunFilter, before: Option<RunId>, limit: usize) -> (String, Vec<Value>) {
    let before = before.unwrap_or(RunId(Uuid::max()));
    let mut text = sql::RUNS_SELECT.to_owned();
    let mut parameters = vec![Value::Blob(id(&before).to_vec())];
    let mut and = |condition: &str, values: Vec<Value>| {
        text.push_str(" AND ");
        let mut number = parameters.len();
        for part in condition.split_inclusive('?') {
            match part.strip_suffix('?') {
                Some(part) => {
                    number += 1;
                    text.push_str(part);
                    text.push_str(&format!("${number}"));
                }
                None => text.push_str(part),
            }
        }
        parameters.extend(values);
    };
    if let Some(namespace) = &filter.namespace {
        and("namespace = ?", vec![Value::Text(namespace.clone())]);
    }
    if let Some(workflow) = &filter.workflow {
        and("workflow = ?", vec![Value::Text(workflow.clone())]);
    }
    if let Some(status) = filter.status {
        and("status = ?", vec![Value::Integer(status as i64)]);
    }
    if let Some(parent) = &filter.parent {
        and("parent_run = ?", vec![Value::Blob(id(parent).to_vec())]);
    }
    if let Some((key, value)) = &filter.label {
        let label = "run IN (SELECT run FROM run_labels WHERE key = ? AND value = ?)";
        and(label, vec![Value::Text(key.clone()), Value::Text(value.clone())]);
    }
    text.push_str(&format!(" ORDER BY run DESC LIMIT {}", page(limit)));
    (text, parameters)
}

pub(super) fn due_timers(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Timer>, StoreError> {
    all(connection, sql::TIMERS_DUE, (now.0, page(limit)), read_timer)
}

pub(super) fn next_timer(connection: &Connection) -> Result<Option<Timestamp>, StoreError> {
    one(connection, sql::TIMER_NEXT, [], |row| rows::time(row, 0))
}

fn read_timer(row: &Row<'_>) -> Result<Timer, StoreError> {
    Ok(Timer { at: rows::time(row, 0)?, run: rows::run_id(row, 1)?, timer: TimerId(row.get(2)?) })
}

pub(super) fn run_of_key(
    connection: &Connection,
    namespace: &str,
    key: &str,
) -> Result<Option<RunId>, StoreError> {
    one(connection, sql::KEY_FIND, (namespace, key), |row| rows::run_id(row, 0))
}

pub(super) fn counts(connection: &Connection, namespace: Option<&str>) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let add = |row: &Row<'_>| {
        let (kind, count): (u8, u64) = (row.get(0)?, row.get(1)?);
        let slot = match kind.checked_sub(STEP_COUNTERS) {
            Some(state) => counts.steps.get_mut(usize::from(state)),
            None => counts.runs.get_mut(usize::from(kind)),
        };
        *slot.ok_or_else(|| corrupt(format!("counter of kind {kind}")))? = count;
        Ok(())
    };
    match namespace {
        Some(namespace) => all(connection, sql::COUNTERS_OF_NAMESPACE, [namespace], add)?,
        None => all(connection, sql::COUNTERS_ALL, [], add)?,
    };
    Ok(counts)
}

/// The blobs that no run uses.
pub(super) fn unused_blobs(connection: &Connection, blobs: &[BlobId]) -> Result<Vec<BlobId>, StoreError> {
    let mut unused = Vec::new();
    for blob in blobs {
        if one(connection, sql::BLOB_USED, [&blob.0[..]], |_| Ok(()))?.is_none() {
            unused.push(*blob);
        }
    }
    Ok(unused)
}

#[cfg(test)]
mod tests {
    use rusqlite::params_from_iter;

    use super::*;
    use crate::sqlite::schema;

    /// Each filter has its index, and none needs a sort.
    #[test]
    fn lists_follow_an_index() {
        let folder = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&folder.path().join("db")).unwrap();
        let all = RunFilter::default;
        let acme = || RunFilter { namespace: Some("acme".to_owned()), ..all() };
        for (filter, index) in [
            (all(), "PRIMARY KEY"),
            (acme(), "runs_by_namespace"),
            (RunFilter { workflow: Some("w".to_owned()), ..acme() }, "runs_by_workflow"),
            (RunFilter { status: Some(crate::RunStatus::Faulted), ..acme() }, "runs_by_status"),
            (RunFilter { parent: Some(RunId(Uuid::nil())), ..all() }, "runs_by_parent"),
        ] {
            let (text, parameters) = list_statement(&filter, None, 10);
            let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {text}")).unwrap();
            let lines =
                explained.query_map(params_from_iter(parameters), |row| row.get::<_, String>(3)).unwrap();
            let plan: Vec<String> = lines.map(Result::unwrap).collect();
            assert!(
                plan.len() == 1 && plan[0].starts_with("SEARCH") && plan[0].contains(index),
                "{filter:?}: {plan:?}"
            );
        }
    }
}
