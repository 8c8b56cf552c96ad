-- Runs. Ids are UUIDs version 7, so that their order is that of creation and new rows go to the end of each tree.
CREATE TABLE runs (
    run BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    workflow TEXT NOT NULL,
    workflow_version TEXT NOT NULL,
    labels TEXT NOT NULL,
    status INTEGER NOT NULL,
    version INTEGER NOT NULL,
    parent_run BLOB,
    parent_child INTEGER,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    finished_at INTEGER
) WITHOUT ROWID;
CREATE INDEX runs_by_namespace ON runs (namespace, run);
CREATE INDEX runs_by_workflow ON runs (namespace, workflow, run);
CREATE INDEX runs_by_status ON runs (namespace, status, run);
CREATE INDEX runs_by_parent ON runs (parent_run, run) WHERE parent_run IS NOT NULL;
CREATE INDEX runs_unfinished ON runs (run) WHERE status < 5;

CREATE TABLE run_labels (
    key TEXT NOT NULL,
    value TEXT NOT NULL,
    run BLOB NOT NULL,
    PRIMARY KEY (key, value, run)
) WITHOUT ROWID;

-- Input (0), output (1) and error (2): apart from the runs, so that a change of status does not write them again.
CREATE TABLE run_values (
    run BLOB NOT NULL,
    kind INTEGER NOT NULL,
    value BLOB NOT NULL,
    PRIMARY KEY (run, kind)
) WITHOUT ROWID;

CREATE TABLE run_keys (
    namespace TEXT NOT NULL,
    key TEXT NOT NULL,
    run BLOB NOT NULL,
    request_sha256 BLOB NOT NULL,
    PRIMARY KEY (namespace, key)
) WITHOUT ROWID;

CREATE TABLE history (
    run BLOB NOT NULL,
    number INTEGER NOT NULL,
    at INTEGER NOT NULL,
    event BLOB NOT NULL,
    notes BLOB NOT NULL,
    PRIMARY KEY (run, number)
) WITHOUT ROWID;

CREATE TABLE snapshots (
    run BLOB PRIMARY KEY,
    version INTEGER NOT NULL,
    state BLOB NOT NULL
) WITHOUT ROWID;

-- State: 0 ready, 1 leased, 2 started, 3 completed, 4 failed, 5 cancelled. Urgency is the priority, negated.
CREATE TABLE steps (
    run BLOB NOT NULL,
    step INTEGER NOT NULL,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    mode INTEGER NOT NULL,
    urgency INTEGER NOT NULL,
    task TEXT NOT NULL,
    name TEXT NOT NULL,
    class TEXT NOT NULL,
    worker TEXT,
    sandbox TEXT,
    ready_at INTEGER NOT NULL,
    leased_at INTEGER,
    started_at INTEGER,
    finished_at INTEGER,
    artifacts TEXT,
    error BLOB,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;
CREATE INDEX steps_open ON steps (run, state, step) WHERE state < 3;
CREATE INDEX steps_ready ON steps (class, urgency, ready_at, run, step) WHERE state = 0;
CREATE INDEX steps_held ON steps (worker, run, step) WHERE state IN (1, 2);

-- Apart from the steps, so that a change of state does not write them again.
CREATE TABLE step_specs (
    run BLOB NOT NULL,
    step INTEGER NOT NULL,
    spec BLOB NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;

CREATE TABLE timers (
    run BLOB NOT NULL,
    timer INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (run, timer)
) WITHOUT ROWID;
CREATE INDEX timers_due ON timers (at, run, timer);

-- Runs by status (0 to 7) and steps by state (16 to 21).
CREATE TABLE counters (
    namespace TEXT NOT NULL,
    kind INTEGER NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (namespace, kind)
) WITHOUT ROWID;

CREATE TABLE workers (
    name TEXT PRIMARY KEY,
    credential BLOB NOT NULL UNIQUE,
    description BLOB NOT NULL,
    enrolled_at INTEGER NOT NULL,
    alive_until INTEGER NOT NULL,
    draining INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE workflows (
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    source TEXT NOT NULL,
    sha256 BLOB NOT NULL,
    published_at INTEGER NOT NULL,
    PRIMARY KEY (namespace, name, version)
) WITHOUT ROWID;

CREATE TABLE tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    created_at INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    name TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER
) WITHOUT ROWID;

-- A chunk is here, or in the blob store.
CREATE TABLE logs (
    run BLOB NOT NULL,
    step INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    sequence INTEGER NOT NULL,
    stream INTEGER NOT NULL,
    at INTEGER NOT NULL,
    size INTEGER NOT NULL,
    inline BLOB,
    blob BLOB,
    PRIMARY KEY (run, step, attempt, sequence)
) WITHOUT ROWID;

CREATE TABLE log_bytes (
    run BLOB NOT NULL,
    step INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    PRIMARY KEY (run, step)
) WITHOUT ROWID;

-- Which runs use which blobs: values, artifacts and logs.
CREATE TABLE blob_uses (
    sha256 BLOB NOT NULL,
    run BLOB NOT NULL,
    PRIMARY KEY (sha256, run)
) WITHOUT ROWID;
