//! The fake: the whole store in one value behind a mutex. For tests and simulations; nothing survives the process.

mod control;
mod runs;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use async_trait::async_trait;
use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};

use crate::blob::BlobId;
use crate::{
    ApiToken, Counts, Deleted, HistoryEntry, JoinToken, Lease, LoadedRun, LogChunk, LogCursor, LogFilter,
    MAX_PAGE_ROWS, PublishOutcome, ReadyCursor, ReadyStep, RunFilter, RunPage, RunSummary, RunValues, Step,
    Store, StoreError, Timer, TokenHash, Turn, TurnOutcome, VersionWanted, Worker, Workflow, WorkflowCursor,
    WorkflowFilter, WorkflowName,
};

/// A store in memory. A clone is another handle on the same store, as a server that starts again would open it.
#[derive(Clone, Default)]
pub struct MemoryStore {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    runs: BTreeMap<RunId, runs::Run>,
    unfinished: BTreeSet<RunId>,
    keys: BTreeMap<(String, String), (RunId, [u8; 32])>,
    workers: BTreeMap<String, Worker>,
    workflows: BTreeMap<WorkflowName, Workflow>,
    tokens: BTreeMap<String, ApiToken>,
    join_tokens: BTreeMap<String, JoinToken>,
    logs: BTreeMap<(RunId, LogCursor), LogChunk>,
    log_bytes: BTreeMap<(RunId, StepId), u64>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no thread panics while it holds the state")
    }
}

/// Rows of a page: the wish, cut to the limit.
fn page(limit: usize) -> usize {
    limit.min(MAX_PAGE_ROWS)
}

#[async_trait]
impl Store for MemoryStore {
    async fn commit(&self, turns: Vec<Turn>) -> Result<Vec<TurnOutcome>, StoreError> {
        self.state().commit(turns)
    }

    async fn load_run(&self, run: RunId) -> Result<Option<LoadedRun>, StoreError> {
        Ok(self.state().load_run(run))
    }

    async fn unfinished_runs(&self, after: Option<RunId>, limit: usize) -> Result<Vec<RunId>, StoreError> {
        let state = self.state();
        let above = state.unfinished.iter().copied().filter(|run| after.is_none_or(|after| *run > after));
        Ok(above.take(page(limit)).collect())
    }

    async fn due_timers(&self, now: Timestamp, limit: usize) -> Result<Vec<Timer>, StoreError> {
        let mut due = self.state().timers();
        due.retain(|timer| timer.at <= now);
        due.truncate(page(limit));
        Ok(due)
    }

    async fn next_timer_at(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.state().timers().first().map(|timer| timer.at))
    }

    async fn runs(
        &self,
        filter: &RunFilter,
        before: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunSummary>, StoreError> {
        Ok(self.state().list_runs(filter, before, page(limit)))
    }

    async fn run_summary(&self, run: RunId) -> Result<Option<RunSummary>, StoreError> {
        Ok(self.state().runs.get(&run).map(|run| run.summary.clone()))
    }

    async fn run_values(&self, run: RunId) -> Result<Option<RunValues>, StoreError> {
        Ok(self.state().runs.get(&run).map(|run| run.values.clone()))
    }

    async fn run_page(&self, run: RunId, steps: usize) -> Result<Option<RunPage>, StoreError> {
        let state = self.state();
        Ok(state.runs.get(&run).map(|run| RunPage {
            summary: run.summary.clone(),
            values: run.values.clone(),
            steps: run.steps.values().take(page(steps)).map(|(step, _)| step.clone()).collect(),
        }))
    }

    async fn history(&self, run: RunId, after: u64, limit: usize) -> Result<Vec<HistoryEntry>, StoreError> {
        let state = self.state();
        let events = state.runs.get(&run).map_or(&[][..], |run| &run.events);
        Ok(events.iter().filter(|entry| entry.number > after).take(page(limit)).cloned().collect())
    }

    async fn steps(&self, run: RunId, after: Option<StepId>, limit: usize) -> Result<Vec<Step>, StoreError> {
        let state = self.state();
        let Some(run) = state.runs.get(&run) else { return Ok(Vec::new()) };
        let above = run.steps.values().filter(|(step, _)| after.is_none_or(|after| step.step > after));
        Ok(above.take(page(limit)).map(|(step, _)| step.clone()).collect())
    }

    async fn run_of_key(&self, namespace: &str, key: &str) -> Result<Option<RunId>, StoreError> {
        Ok(self.state().keys.get(&(namespace.to_owned(), key.to_owned())).map(|(run, _)| *run))
    }

    async fn counts(&self, namespace: Option<&str>) -> Result<Counts, StoreError> {
        Ok(self.state().counts(namespace))
    }

    async fn ended_runs(
        &self,
        before: Timestamp,
        after: Option<RunId>,
        limit: usize,
    ) -> Result<Vec<RunId>, StoreError> {
        Ok(self.state().ended_runs(before, after, page(limit)))
    }

    async fn delete_run(&self, run: RunId, _rows: usize) -> Result<Deleted, StoreError> {
        Ok(self.state().delete_run(run))
    }

    async fn begun_deletions(&self, _limit: usize) -> Result<Vec<RunId>, StoreError> {
        Ok(Vec::new())
    }

    async fn ready_classes(&self) -> Result<Vec<String>, StoreError> {
        let state = self.state();
        let classes: BTreeSet<_> = state.ready().map(|(_, step, _)| step.class.clone()).collect();
        Ok(classes.into_iter().collect())
    }

    async fn ready_steps(
        &self,
        class: &str,
        after: Option<ReadyCursor>,
        limit: usize,
    ) -> Result<Vec<ReadyStep>, StoreError> {
        Ok(self.state().ready_steps(class, after, page(limit)))
    }

    async fn step_spec(&self, run: RunId, step: StepId) -> Result<Option<Bytes>, StoreError> {
        Ok(self.state().runs.get(&run).and_then(|run| run.steps.get(&step)).map(|(_, spec)| spec.clone()))
    }

    async fn worker_leases(&self, worker: &str) -> Result<Vec<Lease>, StoreError> {
        let mut leases = self.state().leases();
        leases.retain(|lease| lease.worker == worker);
        Ok(leases)
    }

    async fn expired_workers(&self, now: Timestamp) -> Result<Vec<String>, StoreError> {
        Ok(self.state().expired_workers(now))
    }

    async fn enrol_worker(&self, worker: Worker) -> Result<(), StoreError> {
        self.state().enrol_worker(worker)
    }

    async fn describe_worker(&self, name: &str, description: Bytes) -> Result<(), StoreError> {
        if let Some(worker) = self.state().workers.get_mut(name) {
            worker.description = description;
        }
        Ok(())
    }

    async fn touch_workers(&self, alive: Vec<(String, Timestamp)>) -> Result<(), StoreError> {
        let mut state = self.state();
        for (name, until) in alive {
            if let Some(worker) = state.workers.get_mut(&name) {
                worker.alive_until = worker.alive_until.max(until);
            }
        }
        Ok(())
    }

    async fn set_drain(&self, name: &str, draining: bool) -> Result<bool, StoreError> {
        Ok(self.state().workers.get_mut(name).map(|worker| worker.draining = draining).is_some())
    }

    async fn remove_worker(&self, name: &str) -> Result<bool, StoreError> {
        Ok(self.state().workers.remove(name).is_some())
    }

    async fn workers(&self) -> Result<Vec<Worker>, StoreError> {
        Ok(self.state().workers.values().cloned().collect())
    }

    async fn worker_by_hash(&self, credential: &TokenHash) -> Result<Option<Worker>, StoreError> {
        Ok(self.state().workers.values().find(|worker| worker.credential == *credential).cloned())
    }

    async fn publish(&self, workflow: Workflow) -> Result<PublishOutcome, StoreError> {
        Ok(self.state().publish(workflow))
    }

    async fn workflow(
        &self,
        namespace: &str,
        name: &str,
        version: VersionWanted<'_>,
    ) -> Result<Option<Workflow>, StoreError> {
        Ok(self.state().workflow(namespace, name, version))
    }

    async fn workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&WorkflowCursor>,
        limit: usize,
    ) -> Result<Vec<Workflow>, StoreError> {
        Ok(self.state().list_workflows(filter, after, page(limit)))
    }

    async fn put_token(&self, token: ApiToken) -> Result<(), StoreError> {
        control::insert_new(&mut self.state().tokens, token.id.clone(), token, "token")
    }

    async fn token_by_hash(&self, hash: &TokenHash) -> Result<Option<ApiToken>, StoreError> {
        Ok(self.state().tokens.values().find(|token| token.hash == *hash).cloned())
    }

    async fn tokens(&self) -> Result<Vec<ApiToken>, StoreError> {
        Ok(self.state().tokens.values().cloned().collect())
    }

    async fn revoke_token(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.state().tokens.remove(id).is_some())
    }

    async fn put_join_token(&self, token: JoinToken) -> Result<(), StoreError> {
        control::insert_new(&mut self.state().join_tokens, token.id.clone(), token, "join token")
    }

    async fn join_token_by_hash(
        &self,
        hash: &TokenHash,
        now: Timestamp,
    ) -> Result<Option<JoinToken>, StoreError> {
        let state = self.state();
        let valid = |token: &&JoinToken| token.hash == *hash && token.expires_at.is_none_or(|at| at > now);
        Ok(state.join_tokens.values().find(valid).cloned())
    }

    async fn join_tokens(&self) -> Result<Vec<JoinToken>, StoreError> {
        Ok(self.state().join_tokens.values().cloned().collect())
    }

    async fn revoke_join_token(&self, id: &str) -> Result<bool, StoreError> {
        Ok(self.state().join_tokens.remove(id).is_some())
    }

    async fn append_logs(&self, chunks: Vec<LogChunk>) -> Result<Vec<(RunId, StepId)>, StoreError> {
        crate::stage::validate_logs(&chunks)?;
        Ok(self.state().append_logs(chunks))
    }

    async fn logs(
        &self,
        filter: LogFilter,
        after: Option<LogCursor>,
        limit: usize,
    ) -> Result<Vec<LogChunk>, StoreError> {
        Ok(self.state().logs(filter, after, page(limit)))
    }

    async fn unused_blobs(&self, blobs: Vec<BlobId>) -> Result<Vec<BlobId>, StoreError> {
        let used = self.state().used_blobs();
        Ok(blobs.into_iter().filter(|blob| !used.contains(blob)).collect())
    }
}
