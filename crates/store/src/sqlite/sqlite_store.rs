//! The store over one SQLite database: opens it, and hands each call to the writer or to a reader.

use std::path::{Path, PathBuf};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};

use super::lock::Lock;
use super::read::Readers;
use super::write::Writer;
use super::{catalog, delete, logs, queue, runs, schema, tokens, turns, workers};
use crate::blob::{BlobId, Blobs};
use crate::large;
use crate::stage;
use crate::{
    ApiToken, Counts, Deleted, HistoryEntry, JoinToken, Lease, LoadedRun, LogChunk, LogCursor, LogFilter,
    PublishOutcome, ReadyCursor, ReadyStep, RunFilter, RunPage, RunSummary, RunValues, Step, Store,
    StoreError, Timer, TokenHash, Turn, TurnOutcome, VersionWanted, Worker, Workflow, WorkflowCursor,
    WorkflowFilter,
};

/// Where the database is and how far it may grow.
#[derive(Clone, Debug)]
pub struct SqliteOptions {
    /// The database file; its write-ahead log and lock file lie beside it.
    pub path: PathBuf,
    /// Pages (4 KiB) that the database may have; `None` means as many as the disk has.
    pub max_pages: Option<u32>,
}

impl SqliteOptions {
    /// The database file at `path`, as large as the disk allows.
    pub fn at(path: impl AsRef<Path>) -> Self {
        SqliteOptions { path: path.as_ref().to_owned(), max_pages: None }
    }
}

/// Steps that are read at a glance; more of them are a scan.
const MAX_LOOK_ROWS: usize = 1024;

/// A store in one SQLite database. Dropped, it waits until what is queued is committed.
pub struct SqliteStore {
    writer: Writer,
    readers: Readers,
    blobs: Blobs,
    // Last: it is given back when all else is closed.
    _lock: Lock,
}

impl SqliteStore {
    /// Opens the database, makes or migrates it as needed, and locks it for this process. It reads no runs, so that the
    /// time it takes does not grow with them. Blocks for some milliseconds.
    pub fn open(options: &SqliteOptions, blobs: Blobs) -> Result<Self, StoreError> {
        let lock = Lock::take(&options.path)?;
        let connection = schema::open_writer(&options.path)?;
        if let Some(pages) = options.max_pages {
            connection.pragma_update(None, "max_page_count", pages)?;
        }
        let writer = Writer::start(connection, &options.path)?;
        Ok(SqliteStore { writer, readers: Readers::start(options.path.clone())?, blobs, _lock: lock })
    }
}

#[async_trait]
impl Store for SqliteStore {
    async fn commit(&self, turns: Vec<Turn>) -> Result<Vec<TurnOutcome>, StoreError> {
        stage::validate(&turns)?;
        let mut slim = Vec::with_capacity(turns.len());
        for turn in turns {
            slim.push(large::slim(&self.blobs, turn).await?);
        }
        let rows = slim.len();
        self.writer
            .write(rows, move |session| slim.iter().map(|turn| turns::take(session, turn)).collect())
            .await
    }

    async fn load_run(&self, run: RunId) -> Result<Option<LoadedRun>, StoreError> {
        let mut loaded = self.readers.look(move |c| runs::load(c, run)).await?;
        if let Some(loaded) = &mut loaded {
            large::fetch_run(&self.blobs, loaded).await?;
        }
        Ok(loaded)
    }

    async fn unfinished_runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.readers.scan(move |c| runs::unfinished(c, after, limit)).await
    }

    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<Vec<Timer>, StoreError> {
        self.readers.look(move |c| runs::due_timers(c, now, limit)).await
    }

    async fn next_timer_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.readers.look(runs::next_timer).await
    }

    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError> {
        let filter = filter.clone();
        self.readers.scan(move |c| runs::list(c, &filter, before, limit)).await
    }

    async fn run_summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        self.readers.look(move |c| runs::summary(c, run)).await
    }

    async fn run_values(&self, run: RunId) -> Result<Option<RunValues>, StoreError> {
        let mut found = self.readers.look(move |c| runs::values(c, run)).await?;
        if let Some(values) = &mut found {
            let columns = [Some(&mut values.input), values.output.as_mut(), values.error.as_mut()];
            large::fetch_all(&self.blobs, columns.into_iter().flatten()).await?;
        }
        Ok(found)
    }

    async fn run_page(&self, run: RunId, steps: usize) -> Result<Option<RunPage>, StoreError> {
        let mut found = self.readers.look(move |c| runs::page_of(c, run, steps)).await?;
        if let Some(page) = &mut found {
            let values = &mut page.values;
            let columns = [Some(&mut values.input), values.output.as_mut(), values.error.as_mut()];
            let errors = page.steps.iter_mut().map(|step| step.error.as_mut());
            let columns: Vec<_> = columns.into_iter().chain(errors).flatten().collect();
            large::fetch_all(&self.blobs, columns).await?;
        }
        Ok(found)
    }

    async fn history(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let mut entries = self.readers.scan(move |c| runs::history(c, run, after, limit)).await?;
        let columns: Vec<_> =
            entries.iter_mut().flat_map(|entry| [&mut entry.event, &mut entry.notes]).collect();
        large::fetch_all(&self.blobs, columns).await?;
        Ok(entries)
    }

    async fn steps(&self, run: RunId, after: Option<StepId>, limit: usize) -> Result<Vec<Step>, StoreError> {
        let read = move |c: &_| queue::steps(c, run, after, limit);
        let mut steps = match limit <= MAX_LOOK_ROWS {
            true => self.readers.look(read).await?,
            false => self.readers.scan(read).await?,
        };
        let errors: Vec<_> = steps.iter_mut().filter_map(|step| step.error.as_mut()).collect();
        large::fetch_all(&self.blobs, errors).await?;
        Ok(steps)
    }

    async fn run_of_key(&self, namespace: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        let (namespace, key) = (namespace.to_owned(), key.to_owned());
        self.readers.look(move |c| runs::run_of_key(c, &namespace, &key)).await
    }

    async fn counts(&self, namespace: Option<&str>) -> Result<Counts, StoreError> {
        let namespace = namespace.map(str::to_owned);
        self.readers.scan(move |c| runs::counts(c, namespace.as_deref())).await
    }

    async fn ended_runs(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        self.readers.scan(move |c| delete::ended(c, before, after, limit)).await
    }

    async fn delete_run(&self, run: RunId, rows: usize) -> Result<Deleted, StoreError> {
        self.writer.write(rows.min(MAX_LOOK_ROWS), move |session| delete::run(session, run, rows)).await
    }

    async fn begun_deletions(&self, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.readers.scan(move |c| delete::begun(c, limit)).await
    }

    async fn ready_classes(&self) -> Result<Vec<String>, StoreError> {
        self.readers.look(queue::ready_classes).await
    }

    async fn ready_steps(
        &self,
        class: &str,
        after: Option<ReadyCursor>,
        limit: usize,
    ) -> Result<Vec<ReadyStep>, StoreError> {
        let class = class.to_owned();
        let mut steps = self.readers.scan(move |c| queue::ready_steps(c, &class, after, limit)).await?;
        large::fetch_all(&self.blobs, steps.iter_mut().map(|step| &mut step.spec).collect::<Vec<_>>())
            .await?;
        Ok(steps)
    }

    async fn step_spec(&self, run: RunId, step: StepId) -> Result<Option<Bytes>, StoreError> {
        let mut spec = self.readers.look(move |c| queue::spec(c, run, step)).await?;
        if let Some(spec) = &mut spec {
            large::fetch(&self.blobs, spec).await?;
        }
        Ok(spec)
    }

    async fn worker_leases(&self, worker: &str) -> Result<Vec<Lease>, StoreError> {
        let worker = worker.to_owned();
        self.readers.look(move |c| queue::worker_leases(c, &worker)).await
    }

    async fn expired_workers(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        self.readers.scan(move |c| queue::expired_workers(c, now)).await
    }

    async fn enrol_worker(&self, worker: Worker) -> Result<(), StoreError> {
        self.writer.write(1, move |session| workers::enrol(session, &worker)).await
    }

    async fn describe_worker(&self, name: &str, description: Bytes) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.writer.write(1, move |session| workers::describe(session, &name, &description)).await
    }

    async fn touch_workers(&self, alive: Vec<(String, Timestamp)>) -> Result<(), StoreError> {
        self.writer.write(alive.len(), move |session| workers::touch(session, &alive)).await
    }

    async fn set_drain(&self, name: &str, draining: bool) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.writer.write(1, move |session| workers::drain(session, &name, draining)).await
    }

    async fn remove_worker(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.writer.write(1, move |session| workers::remove(session, &name)).await
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.readers.scan(workers::list).await
    }

    async fn worker_by_hash(&self, credential: &TokenHash) -> Result<Option<Worker>, StoreError> {
        let credential = *credential;
        self.readers.look(move |c| workers::by_hash(c, &credential)).await
    }

    async fn publish(&self, workflow: Workflow) -> Result<PublishOutcome, StoreError> {
        self.writer.write(1, move |session| catalog::publish(session, &workflow)).await
    }

    async fn workflow(
        &self,
        namespace: &str,
        name: &str,
        version: VersionWanted<'_>,
    ) -> Result<Option<Workflow>, StoreError> {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        match version {
            VersionWanted::Latest => self.readers.scan(move |c| catalog::latest(c, &namespace, &name)).await,
            VersionWanted::Exactly(version) => {
                let version = version.to_owned();
                self.readers.look(move |c| catalog::exactly(c, &namespace, &name, &version)).await
            }
        }
    }

    async fn workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&WorkflowCursor>,
        limit: usize,
    ) -> Result<Vec<Workflow>, StoreError> {
        let (filter, after) = (filter.clone(), after.cloned());
        self.readers.scan(move |c| catalog::list(c, &filter, after.as_ref(), limit)).await
    }

    async fn put_token(&self, token: ApiToken) -> Result<(), StoreError> {
        self.writer.write(1, move |session| tokens::put(session, &token)).await
    }

    async fn token_by_hash(&self, hash: &TokenHash) -> Result<Option<ApiToken>, StoreError> {
        let hash = *hash;
        self.readers.look(move |c| tokens::by_hash(c, &hash)).await
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.readers.scan(tokens::list).await
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.writer.write(1, move |session| tokens::revoke(session, &id)).await
    }

    async fn put_join_token(&self, token: JoinToken) -> Result<(), StoreError> {
        self.writer.write(1, move |session| tokens::put_join(session, &token)).await
    }

    async fn join_token_by_hash(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<JoinToken>, StoreError> {
        let hash = *hash;
        self.readers.look(move |c| tokens::join_by_hash(c, &hash, now)).await
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError> {
        self.readers.scan(tokens::list_join).await
    }

    async fn revoke_join_token(&self, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.writer.write(1, move |session| tokens::revoke_join(session, &id)).await
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<Vec<(RunId, StepId)>, StoreError> {
        stage::validate_logs(&chunks)?;
        self.writer.write(chunks.len(), move |session| logs::append(session, &chunks)).await
    }

    async fn logs(
        &self,
        filter: LogFilter,
        after: Option<LogCursor>,
        limit: usize,
    ) -> Result<Vec<LogChunk>, StoreError> {
        self.readers.scan(move |c| logs::read(c, filter, after, limit)).await
    }

    async fn unused_blobs(&self, blobs: Vec<BlobId>) -> Result<Vec<BlobId>, StoreError> {
        self.readers.scan(move |c| runs::unused_blobs(c, &blobs)).await
    }
}
