//! Workers, workflows, tokens and logs of the fake.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use protocol::id::{RunId, StepId, Timestamp};

use super::State;
use crate::blob::BlobId;
use crate::stage::precedence;
use crate::{
    LogBody, LogChunk, LogCursor, LogFilter, MAX_LOG_BYTES_PER_STEP, PublishOutcome, StoreError,
    VersionWanted, Worker, Workflow, WorkflowCursor, WorkflowFilter,
};

/// Inserts what is not there yet.
pub(super) fn insert_new<V>(
    map: &mut BTreeMap<String, V>,
    key: String,
    value: V,
    kind: &str,
) -> Result<(), StoreError> {
    if map.contains_key(&key) {
        return Err(StoreError::Exists { what: format!("{kind} {key}") });
    }
    map.insert(key, value);
    Ok(())
}

impl State {
    pub(super) fn enrol_worker(&mut self, worker: Worker) -> Result<(), StoreError> {
        insert_new(&mut self.workers, worker.name.clone(), worker, "worker")
    }

    pub(super) fn expired_workers(&self, now: Timestamp) -> Vec<String> {
        let holders: BTreeSet<String> = self.leases().into_iter().map(|lease| lease.worker).collect();
        let expired = |name: &String| self.workers.get(name).is_none_or(|worker| worker.alive_until < now);
        holders.into_iter().filter(expired).collect()
    }

    pub(super) fn publish(&mut self, workflow: Workflow) -> PublishOutcome {
        match self.workflows.get(&workflow.name) {
            Some(found) if found.source == workflow.source => PublishOutcome::Unchanged,
            Some(_) => PublishOutcome::Different,
            None => {
                self.workflows.insert(workflow.name.clone(), workflow);
                PublishOutcome::Published
            }
        }
    }

    pub(super) fn workflow(
        &self,
        namespace: &str,
        name: &str,
        version: VersionWanted<'_>,
    ) -> Option<Workflow> {
        let named = self.workflows.values().filter(|w| w.name.namespace == namespace && w.name.name == name);
        match version {
            VersionWanted::Latest => {
                named.max_by(|a, b| precedence(&a.name.version).cmp(&precedence(&b.name.version))).cloned()
            }
            VersionWanted::Exactly(version) => named.into_iter().find(|w| w.name.version == version).cloned(),
        }
    }

    pub(super) fn list_workflows(
        &self,
        filter: &WorkflowFilter,
        after: Option<&WorkflowCursor>,
        limit: usize,
    ) -> Vec<Workflow> {
        let above = self.workflows.values().filter(|w| after.is_none_or(|after| w.name > *after));
        let wanted = above.filter(|w| {
            filter.namespace.as_ref().is_none_or(|namespace| w.name.namespace == *namespace)
                && filter.name.as_ref().is_none_or(|name| w.name.name == *name)
        });
        wanted.take(limit).map(|w| Workflow { source: String::new(), ..w.clone() }).collect()
    }

    pub(super) fn append_logs(&mut self, chunks: Vec<LogChunk>) -> Vec<(RunId, StepId)> {
        let mut cut = BTreeSet::new();
        for chunk in chunks {
            let id = chunk.attempt;
            let place = LogCursor { step: id.step, attempt: id.attempt, sequence: chunk.sequence };
            if self.logs.contains_key(&(id.run, place)) {
                continue;
            }
            let bytes = self.log_bytes.entry((id.run, id.step)).or_default();
            if *bytes + chunk.body.size() > MAX_LOG_BYTES_PER_STEP {
                cut.insert((id.run, id.step));
                continue;
            }
            *bytes += chunk.body.size();
            self.logs.insert((id.run, place), chunk);
        }
        cut.into_iter().collect()
    }

    pub(super) fn logs(&self, filter: LogFilter, after: Option<LogCursor>, limit: usize) -> Vec<LogChunk> {
        let first = LogCursor { step: StepId(0), attempt: 0, sequence: 0 };
        let from = match after {
            Some(after) => Bound::Excluded((filter.run, after)),
            None => Bound::Included((filter.run, first)),
        };
        let above = self.logs.range((from, Bound::Unbounded)).take_while(|((run, _), _)| *run == filter.run);
        let wanted = above.filter(|((_, place), _)| filter.step.is_none_or(|step| place.step == step));
        wanted.take(limit).map(|(_, chunk)| chunk.clone()).collect()
    }

    /// Blobs of artifacts and logs; values are all in memory here.
    pub(super) fn used_blobs(&self) -> BTreeSet<BlobId> {
        let steps = self.runs.values().flat_map(|run| run.steps.values());
        let artifacts =
            steps.flat_map(|(step, _)| &step.artifacts).filter_map(|file| file.sha256.parse().ok());
        let logs = self.logs.values().filter_map(|chunk| match chunk.body {
            LogBody::Blob { blob, .. } => Some(blob),
            LogBody::Inline(_) => None,
        });
        artifacts.chain(logs).collect()
    }
}
