//! Tests only: no statement of the hot paths walks a whole table, so that costs do not grow with what is stored.

use rusqlite::{Connection, params_from_iter};

use super::schema;
use crate::sql;

/// The lines of SQLite's plan for a statement.
fn plan(connection: &Connection, sql: &str) -> Vec<String> {
    let mut explained = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
    let nothing = vec![rusqlite::types::Null; explained.parameter_count()];
    let lines = explained.query_map(params_from_iter(nothing), |row| row.get(3)).unwrap();
    lines.map(Result::unwrap).collect()
}

#[test]
fn hot_statements_search_and_sort_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let connection = schema::open_writer(&folder.path().join("db")).unwrap();
    let hot = [
        sql::KEY_FIND,
        sql::RUN_HEAD,
        sql::RUN_BY_ID,
        sql::RUN_SET_VERSION,
        sql::RUN_SET_TIMES,
        sql::RUN_SET_STATUS,
        sql::VALUE_DELETE,
        sql::VALUES_OF_RUN,
        sql::EVENTS_AFTER,
        sql::SNAPSHOT_OF_RUN,
        sql::STEP_BY_ID,
        sql::STEPS_AFTER,
        sql::STEP_UPDATE,
        sql::SPEC_OF_STEP,
        sql::READY_STEPS,
        sql::LEASES_OF_WORKER,
        sql::TIMER_DELETE,
        sql::TIMERS_OF_RUN,
        sql::TIMERS_DUE,
        sql::COUNTERS_OF_NAMESPACE,
        sql::WORKER_TOUCH,
        sql::WORKER_BY_HASH,
        sql::WORKFLOW_BY_NAME,
        sql::WORKFLOW_VERSIONS,
        sql::TOKEN_BY_HASH,
        sql::JOIN_TOKEN_BY_HASH,
        sql::LOG_BYTES,
        sql::LOG_FIND,
        sql::LOGS_OF_RUN,
        sql::LOGS_OF_STEP,
        sql::BLOB_USED,
        sql::RUNS_ENDED,
        sql::LABEL_DELETE,
        sql::KEYS_DELETE,
        sql::RUN_DELETE,
        sql::DELETE_PARTS[2],
        sql::DELETE_PARTS[3],
        sql::DELETE_PARTS[6],
        sql::DELETE_PARTS[7],
    ];
    for sql in hot {
        let plan = plan(&connection, sql);
        let good = plan.iter().all(|line| line.starts_with("SEARCH") || line.starts_with("LIST SUBQUERY"));
        assert!(good, "{sql}\n{plan:#?}");
    }
}

/// These walk an index, but one of open work only, or from its end and no further than asked.
#[test]
fn walks_are_along_small_indexes() {
    let folder = tempfile::tempdir().unwrap();
    let connection = schema::open_writer(&folder.path().join("db")).unwrap();
    for (sql, index) in [
        (sql::RUNS_UNFINISHED, "runs_unfinished"),
        (sql::STEPS_OPEN, "steps_open"),
        (sql::READY_STEPS, "steps_ready"),
        (sql::READY_CLASSES, "steps_ready"),
        (sql::WORKERS_EXPIRED, "steps_held"),
        (sql::TIMER_NEXT, "timers_due"),
    ] {
        let plan = plan(&connection, sql);
        for line in plan
            .iter()
            .filter(|line| line.contains("steps") || line.contains("runs") || line.contains("timers"))
        {
            assert!(line.contains(index), "{sql}\n{plan:#?}");
        }
        assert!(plan.iter().any(|line| line.contains(index)), "{sql}\n{plan:#?}");
    }
}
