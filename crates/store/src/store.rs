//! The trait: what the control plane asks of a store, by use case.

use async_trait::async_trait;
use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};

use crate::blob::BlobId;
use crate::{
    ApiToken, Counts, Deleted, HistoryEntry, JoinToken, Lease, LoadedRun, LogChunk, LogCursor, LogFilter,
    PublishOutcome, ReadyCursor, ReadyStep, RunFilter, RunPage, RunSummary, RunValues, Step, StoreError,
    Timer, TokenHash, Turn, TurnOutcome, VersionWanted, Worker, Workflow, WorkflowCursor, WorkflowFilter,
};

/// A durable memory. What a call has answered survives the end of the process and of the machine's power.
///
/// Pages are cut to [`crate::MAX_PAGE_ROWS`]; a page shorter than its limit is the last. Cursors are the keys of the last row,
/// exclusive. Every call may answer any [`StoreError`]; nothing of a failed call was stored.
#[async_trait]
pub trait Store: Send + Sync {
    // Runs: the driver.

    /// Stores a batch of turns in one durable transaction. Outcomes are in the order of the turns; each turn is taken or
    /// refused alone, and sees what the turns before it did. At most [`crate::MAX_COMMIT_TURNS`].
    async fn commit(&self, turns: Vec<Turn>) -> Result<Vec<TurnOutcome>, StoreError>;

    /// What the driver needs to go on with a run; `None` if there is no such run.
    async fn load_run(&self, run: RunId) -> Result<Option<LoadedRun>, StoreError>;

    /// Runs that have not ended, by id: what a server that starts goes on with. A page starts after `after`.
    async fn unfinished_runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>, StoreError>;

    /// Timers due at `now` or before, earliest first. They stay set until a turn clears them.
    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<Vec<Timer>, StoreError>;

    /// When the earliest timer is due.
    async fn next_timer_at(&self) -> Result<Option<Timestamp>, StoreError>;

    // Runs: people.

    /// Runs from the newest (the highest id) to the oldest. A page starts below `before`.
    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError>;

    /// One run; `None` if there is no such run.
    async fn run_summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError>;

    /// Input, output and error of a run; `None` if there is no such run.
    async fn run_values(&self, run: RunId) -> Result<Option<RunValues>, StoreError>;

    /// A run as people see it, with its first steps, of one moment; `None` if there is no such run.
    async fn run_page(&self, run: RunId, steps: usize) -> Result<Option<RunPage>, StoreError>;

    /// History entries with a number above `after`, in order. Empty for an unknown run.
    async fn history(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<HistoryEntry>, StoreError>;

    /// Steps of a run with a number above `after`, in order. Empty for an unknown run.
    async fn steps(&self, run: RunId, after: Option<StepId>, limit: usize) -> Result<Vec<Step>, StoreError>;

    /// The run that the idempotency key made in the namespace.
    async fn run_of_key(&self, namespace: &str, key: &str) -> Result<Option<RunId>, StoreError>;

    /// How many runs and steps there are, of one namespace or of all.
    async fn counts(&self, namespace: Option<&str>) -> Result<Counts, StoreError>;

    // Runs: retention.

    /// Runs that ended before a time, in the order of their ids. A page starts after `after`.
    async fn ended_runs(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError>;

    /// Deletes a run and about `rows` rows that hang on it. A run is kept as long as it goes on, a step or a timer of it is
    /// open, or the run that started it goes on. Its blobs are left to [`crate::blob::Blobs::sweep`].
    async fn delete_run(&self, run: RunId, rows: usize) -> Result<Deleted, StoreError>;

    /// Runs whose deletion was begun and not ended.
    async fn begun_deletions(&self, limit: usize) -> Result<Vec<RunId>, StoreError>;

    // The queue: the dispatcher.

    /// Classes that have ready steps, in order of their text. Costs grow with the classes, not with the steps.
    async fn ready_classes(&self) -> Result<Vec<String>, StoreError>;

    /// Ready steps of one class, in the order of their places. A page starts after `after`.
    async fn ready_steps(
        &self,
        class: &str,
        after: Option<ReadyCursor>,
        limit: usize,
    ) -> Result<Vec<ReadyStep>, StoreError>;

    /// Spec of a step, JSON of `protocol::step::StepSpec`; `None` if there is no such step.
    async fn step_spec(&self, run: RunId, step: StepId) -> Result<Option<Bytes>, StoreError>;

    /// What a worker holds, by run and step.
    async fn worker_leases(&self, worker: &str) -> Result<Vec<Lease>, StoreError>;

    /// Names of workers that hold leases and whose time is over: `alive_until` < `now`, or never enrolled.
    async fn expired_workers(&self, now: Timestamp) -> Result<Vec<String>, StoreError>;

    // Workers.

    /// Adds a worker. [`StoreError::Exists`] if the name is taken.
    async fn enrol_worker(&self, worker: Worker) -> Result<(), StoreError>;

    /// Notes what a worker says of itself; unknown names are ignored.
    async fn describe_worker(&self, name: &str, description: Bytes) -> Result<(), StoreError>;

    /// Workers are alive: their leases hold until the given times. A time never goes back; unknown names are ignored.
    async fn touch_workers(&self, alive: Vec<(String, Timestamp)>) -> Result<(), StoreError>;

    /// Whether a worker is to take no more steps. False if there is no such worker.
    async fn set_drain(&self, name: &str, draining: bool) -> Result<bool, StoreError>;

    /// Takes a worker's credential away. False if there is no such worker. Its leases stay until they expire.
    async fn remove_worker(&self, name: &str) -> Result<bool, StoreError>;

    /// All workers, by name.
    async fn workers(&self) -> Result<Vec<Worker>, StoreError>;

    /// The worker with this credential.
    async fn worker_by_hash(&self, credential: &TokenHash) -> Result<Option<Worker>, StoreError>;

    // Workflows.

    /// Adds a version of a workflow.
    async fn publish(&self, workflow: Workflow) -> Result<PublishOutcome, StoreError>;

    /// A workflow with its source.
    async fn workflow(
        &self,
        namespace: &str,
        name: &str,
        version: VersionWanted<'_>,
    ) -> Result<Option<Workflow>, StoreError>;

    /// Workflows without their sources, by namespace, name and version. A page starts after `after`.
    async fn workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&WorkflowCursor>,
        limit: usize,
    ) -> Result<Vec<Workflow>, StoreError>;

    // Tokens.

    /// Adds a token of the API. [`StoreError::Exists`] if the id is taken.
    async fn put_token(&self, token: ApiToken) -> Result<(), StoreError>;

    /// The token with this hash.
    async fn token_by_hash(&self, hash: &TokenHash) -> Result<Option<ApiToken>, StoreError>;

    /// All tokens of the API, by id.
    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError>;

    /// Deletes a token of the API. False if there is no such token.
    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError>;

    /// Adds a join token. [`StoreError::Exists`] if the id is taken.
    async fn put_join_token(&self, token: JoinToken) -> Result<(), StoreError>;

    /// The join token with this hash, unless it has expired at `now`.
    async fn join_token_by_hash(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<JoinToken>, StoreError>;

    /// All join tokens, by id, expired ones too.
    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError>;

    /// Deletes a join token. False if there is no such token.
    async fn revoke_join_token(&self, id: &str) -> Result<bool, StoreError>;

    // Logs.

    /// Appends chunks. Answers the steps of which chunks were dropped because of [`crate::MAX_LOG_BYTES_PER_STEP`].
    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<Vec<(RunId, StepId)>, StoreError>;

    /// Chunks of a run. A page starts after `after`.
    async fn logs(
        &self,
        filter: LogFilter,
        after: Option<LogCursor>,
        limit: usize,
    ) -> Result<Vec<LogChunk>, StoreError>;

    // Blobs.

    /// Which of the blobs no run uses: not as a value, an artifact or a log chunk.
    async fn unused_blobs(&self, blobs: Vec<BlobId>) -> Result<Vec<BlobId>, StoreError>;
}
