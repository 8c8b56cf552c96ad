//! The statements, in the SQL that SQLite and PostgreSQL share. Parameters are `$1, $2, …`, numbered as they first appear:
//! SQLite counts them in that order, PostgreSQL by their number.

pub(crate) const KEY_FIND: &str =
    "SELECT run, request_sha256 FROM run_keys WHERE namespace = $1 AND key = $2";
pub(crate) const KEY_INSERT: &str =
    "INSERT INTO run_keys (namespace, key, run, request_sha256) VALUES ($1, $2, $3, $4)";

pub(crate) const RUN_HEAD: &str = "SELECT version, status, namespace FROM runs WHERE run = $1";
pub(crate) const RUN_INSERT: &str = "INSERT INTO runs (run, namespace, workflow, workflow_version, labels, status, \
     version, parent_run, parent_child, created_at, updated_at, finished_at) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)";
pub(crate) const RUN_SET_VERSION: &str = "UPDATE runs SET version = $1 WHERE run = $2";
pub(crate) const RUN_SET_TIMES: &str =
    "UPDATE runs SET version = $1, updated_at = $2, finished_at = $3 WHERE run = $4";
pub(crate) const RUN_SET_STATUS: &str =
    "UPDATE runs SET version = $1, updated_at = $2, finished_at = $3, status = $4 WHERE run = $5";
pub(crate) const LABEL_INSERT: &str = "INSERT INTO run_labels (key, value, run) VALUES ($1, $2, $3)";
pub(crate) const VALUE_PUT: &str = "INSERT INTO run_values (run, kind, value) VALUES ($1, $2, $3) \
     ON CONFLICT (run, kind) DO UPDATE SET value = excluded.value";
pub(crate) const VALUE_DELETE: &str = "DELETE FROM run_values WHERE run = $1 AND kind = $2";
pub(crate) const VALUES_OF_RUN: &str = "SELECT kind, value FROM run_values WHERE run = $1";

/// The columns of a run, in the order in which they are read.
macro_rules! run_columns {
    () => {
        "run, namespace, workflow, workflow_version, labels, status, version, parent_run, parent_child, created_at, \
         updated_at, finished_at"
    };
}
pub(crate) const RUN_BY_ID: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE run = $1");
pub(crate) const RUNS_SELECT: &str = concat!("SELECT ", run_columns!(), " FROM runs WHERE run < $1");
pub(crate) const RUNS_UNFINISHED: &str =
    "SELECT run FROM runs WHERE status < 5 AND run > $1 ORDER BY run LIMIT $2";

/// In the order of their ids, below the id of a run that is made at the time: no run ends before it is made.
pub(crate) const RUNS_ENDED: &str = "SELECT run FROM runs \
     WHERE run > $1 AND run < $2 AND status >= 5 AND finished_at < $3 ORDER BY run LIMIT $4";
pub(crate) const RUN_IS_NEEDED: &str = "SELECT 1 FROM runs r WHERE r.run = $1 AND ( \
     EXISTS (SELECT 1 FROM timers t WHERE t.run = r.run) \
     OR EXISTS (SELECT 1 FROM steps s WHERE s.run = r.run AND s.state < 3) \
     OR EXISTS (SELECT 1 FROM runs p WHERE p.run = r.parent_run AND p.status < 5))";
pub(crate) const STEPS_BY_STATE: &str = "SELECT state, COUNT(*) FROM steps WHERE run = $1 GROUP BY state";
pub(crate) const LABELS_OF_RUN: &str = "SELECT labels FROM runs WHERE run = $1";
pub(crate) const LABEL_DELETE: &str = "DELETE FROM run_labels WHERE key = $1 AND value = $2 AND run = $3";
pub(crate) const KEYS_DELETE: &str = "DELETE FROM run_keys WHERE run = $1";
pub(crate) const RUN_DELETE: &str = "DELETE FROM runs WHERE run = $1";
pub(crate) const DELETION_BEGIN: &str = "INSERT INTO deleted_runs (run) VALUES ($1) ON CONFLICT DO NOTHING";
pub(crate) const DELETION_END: &str = "DELETE FROM deleted_runs WHERE run = $1";
pub(crate) const DELETIONS: &str = "SELECT run FROM deleted_runs ORDER BY run LIMIT $1";
/// What hangs on a run, each at most `$2` rows.
pub(crate) const DELETE_PARTS: [&str; 8] = [
    "DELETE FROM run_values WHERE run = $1 AND kind IN (SELECT kind FROM run_values WHERE run = $1 LIMIT $2)",
    "DELETE FROM snapshots WHERE run = $1 AND $2 > 0",
    "DELETE FROM history WHERE run = $1 AND number IN (SELECT number FROM history WHERE run = $1 LIMIT $2)",
    "DELETE FROM steps WHERE run = $1 AND step IN (SELECT step FROM steps WHERE run = $1 LIMIT $2)",
    "DELETE FROM step_specs WHERE run = $1 AND step IN (SELECT step FROM step_specs WHERE run = $1 LIMIT $2)",
    "DELETE FROM log_bytes WHERE run = $1 AND step IN (SELECT step FROM log_bytes WHERE run = $1 LIMIT $2)",
    "DELETE FROM logs WHERE run = $1 AND (step, attempt, sequence) IN \
     (SELECT step, attempt, sequence FROM logs WHERE run = $1 LIMIT $2)",
    "DELETE FROM blob_uses WHERE run = $1 AND sha256 IN (SELECT sha256 FROM blob_uses WHERE run = $1 LIMIT $2)",
];

pub(crate) const EVENT_INSERT: &str =
    "INSERT INTO history (run, number, at, event, notes) VALUES ($1, $2, $3, $4, $5)";
pub(crate) const EVENTS_AFTER: &str =
    "SELECT number, at, event, notes FROM history WHERE run = $1 AND number > $2 ORDER BY number LIMIT $3";
pub(crate) const SNAPSHOT_PUT: &str = "INSERT INTO snapshots (run, version, state) VALUES ($1, $2, $3) \
     ON CONFLICT (run) DO UPDATE SET version = excluded.version, state = excluded.state";
pub(crate) const SNAPSHOT_OF_RUN: &str = "SELECT version, state FROM snapshots WHERE run = $1";

/// The columns of a step, in the order in which they are read and written.
macro_rules! step_columns {
    () => {
        "state, attempt, mode, urgency, task, name, class, worker, sandbox, ready_at, leased_at, started_at, finished_at, \
         artifacts, error"
    };
}
pub(crate) const STEP_BY_ID: &str =
    concat!("SELECT step, ", step_columns!(), " FROM steps WHERE run = $1 AND step = $2");
pub(crate) const STEPS_AFTER: &str = concat!(
    "SELECT step, ",
    step_columns!(),
    " FROM steps WHERE run = $1 AND step > $2 ORDER BY step LIMIT $3"
);
pub(crate) const STEPS_OPEN: &str =
    concat!("SELECT step, ", step_columns!(), " FROM steps WHERE run = $1 AND state < 3 ORDER BY step");
pub(crate) const STEP_INSERT: &str = concat!(
    "INSERT INTO steps (run, step, ",
    step_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
);
pub(crate) const STEP_UPDATE: &str = "UPDATE steps SET state = $1, attempt = $2, worker = $3, sandbox = $4, \
     ready_at = $5, leased_at = $6, started_at = $7, finished_at = $8, artifacts = $9, error = $10 \
     WHERE run = $11 AND step = $12";
pub(crate) const SPEC_INSERT: &str = "INSERT INTO step_specs (run, step, spec) VALUES ($1, $2, $3)";
pub(crate) const SPEC_OF_STEP: &str = "SELECT spec FROM step_specs WHERE run = $1 AND step = $2";

/// One look into the index per class, however many steps are ready.
pub(crate) const READY_CLASSES: &str = "WITH RECURSIVE classes (class) AS ( \
     SELECT (SELECT class FROM steps WHERE state = 0 ORDER BY class LIMIT 1) \
     UNION ALL \
     SELECT (SELECT s.class FROM steps s WHERE s.state = 0 AND s.class > classes.class ORDER BY s.class LIMIT 1) \
     FROM classes WHERE classes.class IS NOT NULL) \
     SELECT class FROM classes WHERE class IS NOT NULL";
pub(crate) const READY_STEPS: &str = "SELECT s.urgency, s.ready_at, s.run, s.step, s.attempt, s.mode, r.namespace, \
     r.workflow, r.workflow_version, p.spec \
     FROM steps s JOIN runs r ON r.run = s.run JOIN step_specs p ON p.run = s.run AND p.step = s.step \
     WHERE s.state = 0 AND s.class = $1 AND (s.urgency, s.ready_at, s.run, s.step) > ($2, $3, $4, $5) \
     ORDER BY s.urgency, s.ready_at, s.run, s.step LIMIT $6";
pub(crate) const LEASES_OF_WORKER: &str = "SELECT run, step, attempt, leased_at, state FROM steps \
     WHERE state IN (1, 2) AND worker = $1 ORDER BY run, step";
pub(crate) const WORKERS_EXPIRED: &str = "SELECT h.worker FROM \
     (SELECT DISTINCT worker FROM steps WHERE state IN (1, 2)) h LEFT JOIN workers w ON w.name = h.worker \
     WHERE w.name IS NULL OR w.alive_until < $1 ORDER BY h.worker";

pub(crate) const TIMER_PUT: &str = "INSERT INTO timers (run, timer, at) VALUES ($1, $2, $3) \
     ON CONFLICT (run, timer) DO UPDATE SET at = excluded.at";
pub(crate) const TIMER_DELETE: &str = "DELETE FROM timers WHERE run = $1 AND timer = $2";
pub(crate) const TIMERS_OF_RUN: &str = "SELECT at, run, timer FROM timers WHERE run = $1 ORDER BY timer";
pub(crate) const TIMERS_DUE: &str =
    "SELECT at, run, timer FROM timers WHERE at <= $1 ORDER BY at, run, timer LIMIT $2";
pub(crate) const TIMER_NEXT: &str = "SELECT at FROM timers ORDER BY at LIMIT 1";

pub(crate) const COUNTER_ADD: &str = "INSERT INTO counters (namespace, kind, count) VALUES ($1, $2, $3) \
     ON CONFLICT (namespace, kind) DO UPDATE SET count = counters.count + excluded.count";
pub(crate) const COUNTERS_ALL: &str = "SELECT kind, SUM(count) FROM counters GROUP BY kind";
pub(crate) const COUNTERS_OF_NAMESPACE: &str = "SELECT kind, count FROM counters WHERE namespace = $1";
pub(crate) const NAMESPACES_WITH: &str = "SELECT namespace FROM counters WHERE kind = $1 AND count > 0";

macro_rules! worker_columns {
    () => {
        "name, credential, description, enrolled_at, alive_until, draining"
    };
}
pub(crate) const WORKER_INSERT: &str = concat!(
    "INSERT INTO workers (",
    worker_columns!(),
    ") VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING"
);
pub(crate) const WORKER_DESCRIBE: &str = "UPDATE workers SET description = $1 WHERE name = $2";
pub(crate) const WORKER_TOUCH: &str =
    "UPDATE workers SET alive_until = $1 WHERE name = $2 AND alive_until < $1";
pub(crate) const WORKER_DRAIN: &str = "UPDATE workers SET draining = $1 WHERE name = $2";
pub(crate) const WORKER_DELETE: &str = "DELETE FROM workers WHERE name = $1";
pub(crate) const WORKERS_ALL: &str = concat!("SELECT ", worker_columns!(), " FROM workers ORDER BY name");
pub(crate) const WORKER_BY_HASH: &str =
    concat!("SELECT ", worker_columns!(), " FROM workers WHERE credential = $1");

pub(crate) const WORKFLOW_INSERT: &str = "INSERT INTO workflows (namespace, name, version, source, sha256, published_at) \
     VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
pub(crate) const WORKFLOW_VERSIONS: &str = "SELECT version FROM workflows WHERE namespace = $1 AND name = $2";
pub(crate) const WORKFLOW_BY_NAME: &str = "SELECT namespace, name, version, source, sha256, published_at FROM workflows \
     WHERE namespace = $1 AND name = $2 AND version = $3";
pub(crate) const WORKFLOWS_AFTER: &str = "SELECT namespace, name, version, '', sha256, published_at FROM workflows \
     WHERE (namespace, name, version) > ($1, $2, $3)";

macro_rules! token_columns {
    () => {
        "id, hash, name, role, created_at"
    };
}
pub(crate) const TOKEN_INSERT: &str =
    concat!("INSERT INTO tokens (", token_columns!(), ") VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING");
pub(crate) const TOKEN_BY_HASH: &str = concat!("SELECT ", token_columns!(), " FROM tokens WHERE hash = $1");
pub(crate) const TOKENS_ALL: &str = concat!("SELECT ", token_columns!(), " FROM tokens ORDER BY id");
pub(crate) const TOKEN_DELETE: &str = "DELETE FROM tokens WHERE id = $1";

macro_rules! join_token_columns {
    () => {
        "id, hash, name, created_at, expires_at"
    };
}
pub(crate) const JOIN_TOKEN_INSERT: &str = concat!(
    "INSERT INTO join_tokens (",
    join_token_columns!(),
    ") VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING"
);
pub(crate) const JOIN_TOKEN_BY_HASH: &str = concat!(
    "SELECT ",
    join_token_columns!(),
    " FROM join_tokens WHERE hash = $1 AND (expires_at IS NULL OR expires_at > $2)"
);
pub(crate) const JOIN_TOKENS_ALL: &str =
    concat!("SELECT ", join_token_columns!(), " FROM join_tokens ORDER BY id");
pub(crate) const JOIN_TOKEN_DELETE: &str = "DELETE FROM join_tokens WHERE id = $1";

pub(crate) const LOG_BYTES: &str = "SELECT bytes FROM log_bytes WHERE run = $1 AND step = $2";
pub(crate) const LOG_BYTES_PUT: &str = "INSERT INTO log_bytes (run, step, bytes) VALUES ($1, $2, $3) \
     ON CONFLICT (run, step) DO UPDATE SET bytes = excluded.bytes";
pub(crate) const LOG_INSERT: &str = "INSERT INTO logs (run, step, attempt, sequence, stream, at, size, inline, blob) \
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
pub(crate) const LOG_FIND: &str =
    "SELECT 1 FROM logs WHERE run = $1 AND step = $2 AND attempt = $3 AND sequence = $4";
pub(crate) const LOGS_OF_RUN: &str = "SELECT step, attempt, sequence, stream, at, size, inline, blob FROM logs \
     WHERE run = $1 AND (step, attempt, sequence) > ($2, $3, $4) ORDER BY step, attempt, sequence LIMIT $5";
pub(crate) const LOGS_OF_STEP: &str = "SELECT step, attempt, sequence, stream, at, size, inline, blob FROM logs \
     WHERE run = $1 AND step = $2 AND (attempt, sequence) > ($3, $4) ORDER BY attempt, sequence LIMIT $5";

pub(crate) const BLOB_USE_INSERT: &str =
    "INSERT INTO blob_uses (sha256, run) VALUES ($1, $2) ON CONFLICT DO NOTHING";
pub(crate) const BLOB_USED: &str = "SELECT 1 FROM blob_uses WHERE sha256 = $1 LIMIT 1";
