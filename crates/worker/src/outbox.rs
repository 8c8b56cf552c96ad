//! Outcomes on their way to the server: each is kept, and sent again after a reconnect, until it is acknowledged.

use std::collections::BTreeMap;
use std::sync::Mutex;

use bytes::Bytes;
use protocol::id::AttemptId;
use tokio::sync::Notify;

/// Unacknowledged outcomes. It holds at most one per slot of the worker, since a slot is given back with its outcome
/// and an unacknowledged outcome still counts as held.
#[derive(Default)]
pub(crate) struct Outbox {
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Default)]
struct State {
    unsent: BTreeMap<AttemptId, Bytes>,
    sent: BTreeMap<AttemptId, Bytes>,
}

impl Outbox {
    /// Adds an outcome (JSON of `StepOutcome`).
    pub(crate) fn put(&self, attempt: AttemptId, outcome: Bytes) {
        self.locked().unsent.insert(attempt, outcome);
        self.wake.notify_one();
    }

    /// Waits until something is unsent, then takes all of it; what is taken stays held until acknowledged.
    pub(crate) async fn take(&self) -> Vec<(AttemptId, Bytes)> {
        loop {
            let woken = self.wake.notified();
            {
                let mut state = self.locked();
                if !state.unsent.is_empty() {
                    let batch: Vec<_> = std::mem::take(&mut state.unsent).into_iter().collect();
                    state.sent.extend(batch.iter().cloned());
                    return batch;
                }
            }
            woken.await;
        }
    }

    /// The server has committed these, or has said that they are no longer this worker's.
    pub(crate) fn forget(&self, attempts: impl IntoIterator<Item = AttemptId>) {
        let mut state = self.locked();
        for attempt in attempts {
            state.sent.remove(&attempt);
            state.unsent.remove(&attempt);
        }
    }

    /// After a reconnect: what was sent on the old stream may be lost, so all is unsent again.
    pub(crate) fn rewind(&self) {
        let mut state = self.locked();
        let sent = std::mem::take(&mut state.sent);
        state.unsent.extend(sent);
        drop(state);
        self.wake.notify_one();
    }

    /// Whether this attempt's outcome is here.
    pub(crate) fn holds(&self, attempt: AttemptId) -> bool {
        let state = self.locked();
        state.sent.contains_key(&attempt) || state.unsent.contains_key(&attempt)
    }

    /// Attempts whose outcome is not acknowledged.
    pub(crate) fn held(&self) -> Vec<AttemptId> {
        let state = self.locked();
        state.sent.keys().chain(state.unsent.keys()).copied().collect()
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no holder of the outbox panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::id::{RunId, StepId};

    fn attempt(step: u32) -> AttemptId {
        AttemptId { run: RunId(Default::default()), step: StepId(step), attempt: 1 }
    }

    #[tokio::test]
    async fn an_outcome_is_sent_again_until_it_is_acknowledged() {
        let outbox = Outbox::default();
        outbox.put(attempt(1), Bytes::from_static(b"one"));
        outbox.put(attempt(2), Bytes::from_static(b"two"));
        assert_eq!(outbox.take().await.len(), 2);
        outbox.forget([attempt(1)]);
        outbox.rewind();
        assert_eq!(outbox.take().await, vec![(attempt(2), Bytes::from_static(b"two"))]);
        outbox.forget([attempt(2)]);
        assert!(outbox.held().is_empty());
    }

    #[tokio::test]
    async fn taking_waits_for_the_next_outcome() {
        let outbox = std::sync::Arc::new(Outbox::default());
        let taker = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.take().await }
        });
        tokio::task::yield_now().await;
        outbox.put(attempt(7), Bytes::from_static(b"late"));
        assert_eq!(taker.await.unwrap().len(), 1);
    }
}
