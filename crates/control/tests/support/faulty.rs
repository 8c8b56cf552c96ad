//! A store with faults: its disk can be full, and the process can stop right after a commit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};
use store::blob::BlobId;
use store::*;

/// Faults that a test turns on. Cheap to clone.
#[derive(Clone, Default)]
pub struct Faults(Arc<State>);

#[derive(Default)]
struct State {
    full: AtomicBool,
    forgetful: AtomicBool,
    /// The commit with this number is stored, and nobody learns of it.
    dies_at: AtomicU64,
    dead: AtomicBool,
    died: tokio::sync::Notify,
    commits: AtomicU64,
}

impl Faults {
    /// Fills the disk, or frees it.
    pub fn set_full(&self, full: bool) {
        self.0.full.store(full, Ordering::SeqCst);
    }

    /// Hides the documents, or shows them again.
    pub fn set_forgetful(&self, forgetful: bool) {
        self.0.forgetful.store(forgetful, Ordering::SeqCst);
    }

    /// After `commits` more commits, the next one is stored and nobody learns of it: the process has died in between.
    pub fn die_after(&self, commits: u64) {
        self.0.dies_at.store(self.0.commits.load(Ordering::SeqCst) + commits + 1, Ordering::SeqCst);
    }

    /// Nothing more is stored from now on.
    pub fn kill(&self) {
        self.0.dead.store(true, Ordering::SeqCst);
    }

    /// Waits until it has died.
    pub async fn died(&self) {
        while !self.is_dead() {
            self.0.died.notified().await;
        }
    }

    /// Whether it has died.
    pub fn is_dead(&self) -> bool {
        self.0.dead.load(Ordering::SeqCst)
    }

    fn check(&self) -> Result<(), StoreError> {
        if self.0.full.load(Ordering::SeqCst) { Err(StoreError::Full) } else { Ok(()) }
    }
}

/// The store.
pub struct FaultyStore {
    pub inner: Arc<dyn Store>,
    pub faults: Faults,
}

#[async_trait]
impl Store for FaultyStore {
    async fn commit(&self, turns: Vec<Turn>) -> Result<Vec<TurnOutcome>, StoreError> {
        self.faults.check()?;
        if self.faults.is_dead() {
            std::future::pending::<()>().await;
        }
        let outcomes = self.inner.commit(turns).await?;
        let state = &self.faults.0;
        let number = state.commits.fetch_add(1, Ordering::SeqCst) + 1;
        if number == state.dies_at.load(Ordering::SeqCst) {
            state.dead.store(true, Ordering::SeqCst);
            state.died.notify_one();
            std::future::pending::<()>().await;
        }
        Ok(outcomes)
    }

    async fn load_run(&self, run: RunId) -> Result<Option<LoadedRun>, StoreError> {
        self.inner.load_run(run).await
    }

    async fn unfinished_runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.inner.unfinished_runs(after, limit).await
    }

    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<Vec<Timer>, StoreError> {
        self.inner.due_timers(now, limit).await
    }

    async fn next_timer_at(&self) -> Result<Option<Timestamp>, StoreError> {
        self.inner.next_timer_at().await
    }

    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError> {
        self.inner.runs(filter, before, limit).await
    }

    async fn run_summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        self.inner.run_summary(run).await
    }

    async fn run_values(&self, run: RunId) -> Result<Option<RunValues>, StoreError> {
        self.inner.run_values(run).await
    }

    async fn run_page(&self, run: RunId, steps: usize) -> Result<Option<RunPage>, StoreError> {
        self.inner.run_page(run, steps).await
    }

    async fn history(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        self.inner.history(run, after, limit).await
    }

    async fn steps(&self, run: RunId, after: Option<StepId>, limit: usize) -> Result<Vec<Step>, StoreError> {
        self.inner.steps(run, after, limit).await
    }

    async fn run_of_key(&self, namespace: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        self.inner.run_of_key(namespace, key).await
    }

    async fn counts(&self, namespace: Option<&str>) -> Result<Counts, StoreError> {
        self.inner.counts(namespace).await
    }

    async fn ended_runs(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        self.inner.ended_runs(before, after, limit).await
    }

    async fn delete_run(&self, run: RunId, rows: usize) -> Result<Deleted, StoreError> {
        self.inner.delete_run(run, rows).await
    }

    async fn begun_deletions(&self, limit: usize) -> Result<Vec<RunId>, StoreError> {
        self.inner.begun_deletions(limit).await
    }

    async fn ready_classes(&self) -> Result<Vec<String>, StoreError> {
        self.inner.ready_classes().await
    }

    async fn ready_steps(
        &self,
        class: &str,
        after: Option<ReadyCursor>,
        limit: usize,
    ) -> Result<Vec<ReadyStep>, StoreError> {
        self.inner.ready_steps(class, after, limit).await
    }

    async fn step_spec(&self, run: RunId, step: StepId) -> Result<Option<Bytes>, StoreError> {
        self.inner.step_spec(run, step).await
    }

    async fn worker_leases(&self, worker: &str) -> Result<Vec<Lease>, StoreError> {
        self.inner.worker_leases(worker).await
    }

    async fn expired_workers(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        self.inner.expired_workers(now).await
    }

    async fn enrol_worker(&self, worker: Worker) -> Result<(), StoreError> {
        self.inner.enrol_worker(worker).await
    }

    async fn describe_worker(&self, name: &str, description: Bytes) -> Result<(), StoreError> {
        self.inner.describe_worker(name, description).await
    }

    async fn touch_workers(&self, alive: Vec<(String, Timestamp)>) -> Result<(), StoreError> {
        self.faults.check()?;
        self.inner.touch_workers(alive).await
    }

    async fn set_drain(&self, name: &str, draining: bool) -> Result<bool, StoreError> {
        self.inner.set_drain(name, draining).await
    }

    async fn remove_worker(&self, name: &str) -> Result<bool, StoreError> {
        self.inner.remove_worker(name).await
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        self.inner.workers().await
    }

    async fn worker_by_hash(&self, credential: &TokenHash) -> Result<Option<Worker>, StoreError> {
        self.inner.worker_by_hash(credential).await
    }

    async fn publish(&self, workflow: Workflow) -> Result<PublishOutcome, StoreError> {
        self.inner.publish(workflow).await
    }

    async fn workflow(
        &self,
        namespace: &str,
        name: &str,
        version: VersionWanted<'_>,
    ) -> Result<Option<Workflow>, StoreError> {
        if self.faults.0.forgetful.load(Ordering::SeqCst) {
            return Ok(None);
        }
        self.inner.workflow(namespace, name, version).await
    }

    async fn workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&WorkflowCursor>,
        limit: usize,
    ) -> Result<Vec<Workflow>, StoreError> {
        self.inner.workflows(filter, after, limit).await
    }

    async fn put_token(&self, token: ApiToken) -> Result<(), StoreError> {
        self.inner.put_token(token).await
    }

    async fn token_by_hash(&self, hash: &TokenHash) -> Result<Option<ApiToken>, StoreError> {
        self.inner.token_by_hash(hash).await
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        self.inner.tokens().await
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        self.inner.revoke_token(id).await
    }

    async fn put_join_token(&self, token: JoinToken) -> Result<(), StoreError> {
        self.inner.put_join_token(token).await
    }

    async fn join_token_by_hash(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<JoinToken>, StoreError> {
        self.inner.join_token_by_hash(hash, now).await
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError> {
        self.inner.join_tokens().await
    }

    async fn revoke_join_token(&self, id: &str) -> Result<bool, StoreError> {
        self.inner.revoke_join_token(id).await
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<Vec<(RunId, StepId)>, StoreError> {
        self.inner.append_logs(chunks).await
    }

    async fn logs(
        &self,
        filter: LogFilter,
        after: Option<LogCursor>,
        limit: usize,
    ) -> Result<Vec<LogChunk>, StoreError> {
        self.inner.logs(filter, after, limit).await
    }

    async fn unused_blobs(&self, blobs: Vec<BlobId>) -> Result<Vec<BlobId>, StoreError> {
        self.inner.unused_blobs(blobs).await
    }
}
