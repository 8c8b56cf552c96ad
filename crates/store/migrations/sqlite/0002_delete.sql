-- Runs whose rows are being deleted: the run itself is gone, what hangs on it goes bit by bit.
CREATE TABLE deleted_runs (
    run BLOB PRIMARY KEY
) WITHOUT ROWID;
CREATE INDEX run_keys_by_run ON run_keys (run);
CREATE INDEX blob_uses_by_run ON blob_uses (run);
