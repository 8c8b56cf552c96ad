//! Published workflows as rows.

use rusqlite::types::Value;
use rusqlite::{Connection, Row, params_from_iter};

use super::rows::{self, all, all_of, one, one_of, page};
use super::write::Session;
use crate::stage::precedence;
use crate::{PublishOutcome, StoreError, Workflow, WorkflowCursor, WorkflowFilter, WorkflowName, sql};

pub(super) fn publish(session: &Session, workflow: &Workflow) -> Result<PublishOutcome, StoreError> {
    let WorkflowName { namespace, name, version } = &workflow.name;
    let inserted = session.prepare(sql::WORKFLOW_INSERT)?.execute((
        namespace,
        name,
        version,
        &workflow.source,
        workflow.sha256,
        workflow.published_at.0,
    ))?;
    if inserted > 0 {
        return Ok(PublishOutcome::Published);
    }
    let found = one_of(&mut session.prepare(sql::WORKFLOW_BY_NAME)?, (namespace, name, version), read)?;
    Ok(match found.is_some_and(|found| found.source == workflow.source) {
        true => PublishOutcome::Unchanged,
        false => PublishOutcome::Different,
    })
}

/// The version with the highest precedence.
pub(super) fn latest(
    connection: &Connection,
    namespace: &str,
    name: &str,
) -> Result<Option<Workflow>, StoreError> {
    let mut versions = connection.prepare_cached(sql::WORKFLOW_VERSIONS)?;
    let versions: Vec<String> = all_of(&mut versions, (namespace, name), |row| Ok(row.get(0)?))?;
    match versions.iter().max_by(|a, b| precedence(a).cmp(&precedence(b))) {
        Some(version) => exactly(connection, namespace, name, version),
        None => Ok(None),
    }
}

pub(super) fn exactly(
    connection: &Connection,
    namespace: &str,
    name: &str,
    version: &str,
) -> Result<Option<Workflow>, StoreError> {
    one(connection, sql::WORKFLOW_BY_NAME, (namespace, name, version), read)
}

pub(super) fn list(
    connection: &Connection,
    filter: &WorkflowFilter,
    after: Option<&WorkflowCursor>,
    limit: usize,
) -> Result<Vec<Workflow>, StoreError> {
    let mut text = sql::WORKFLOWS_AFTER.to_owned();
    let mut parameters: Vec<Value> = match after {
        Some(after) => {
            [&after.namespace, &after.name, &after.version].map(|part| Value::Text(part.clone())).into()
        }
        None => vec![Value::Text(String::new()); 3],
    };
    for (column, wanted) in [("namespace", &filter.namespace), ("name", &filter.name)] {
        if let Some(wanted) = wanted {
            parameters.push(Value::Text(wanted.clone()));
            text.push_str(&format!(" AND {column} = ${}", parameters.len()));
        }
    }
    text.push_str(&format!(" ORDER BY namespace, name, version LIMIT {}", page(limit)));
    all(connection, &text, params_from_iter(parameters), read)
}

fn read(row: &Row<'_>) -> Result<Workflow, StoreError> {
    Ok(Workflow {
        name: WorkflowName { namespace: row.get(0)?, name: row.get(1)?, version: row.get(2)? },
        source: row.get(3)?,
        sha256: row.get(4)?,
        published_at: rows::time(row, 5)?,
    })
}
