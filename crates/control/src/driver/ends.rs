//! Who waits for the end of a run, and for nothing else that happens to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use protocol::id::RunId;
use tokio::sync::oneshot;

/// Those who wait, by run.
#[derive(Debug, Default)]
pub(crate) struct Ends(Mutex<HashMap<RunId, Vec<oneshot::Sender<()>>>>);

/// One who waits; dropped, it waits no more.
#[derive(Debug)]
pub(crate) struct End {
    told: Option<oneshot::Receiver<()>>,
    ends: Arc<Ends>,
    run: RunId,
}

impl Ends {
    fn waiting(&self) -> MutexGuard<'_, HashMap<RunId, Vec<oneshot::Sender<()>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for an end that is stored from now on.
    pub(crate) fn of(self: &Arc<Self>, run: RunId) -> End {
        let (tell, told) = oneshot::channel();
        self.waiting().entry(run).or_default().push(tell);
        End { told: Some(told), ends: Arc::clone(self), run }
    }

    /// The end of a run is stored.
    pub(crate) fn tell(&self, run: RunId) {
        for waiting in self.waiting().remove(&run).unwrap_or_default() {
            // Who has gone meanwhile need not know.
            let _ = waiting.send(());
        }
    }
}

impl End {
    /// Waits.
    pub(crate) async fn reached(mut self) {
        let told = self.told.as_mut().expect("it is taken by the drop alone");
        if told.await.is_err() {
            // The server is stopping: the end is not told any more.
            std::future::pending().await
        }
    }
}

impl Drop for End {
    fn drop(&mut self) {
        self.told = None;
        let mut waiting = self.ends.waiting();
        if let Some(others) = waiting.get_mut(&self.run) {
            others.retain(|other| !other.is_closed());
            if others.is_empty() {
                waiting.remove(&self.run);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn an_end_is_told_to_those_who_wait_for_it_and_who_goes_leaves_nothing() {
        let ends = Arc::new(Ends::default());
        let (mine, other) = (RunId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let (first, second, gone) = (ends.of(mine), ends.of(mine), ends.of(other));
        ends.tell(mine);
        assert!(first.reached().now_or_never().is_some() && second.reached().now_or_never().is_some());
        drop(gone);
        assert!(ends.waiting().is_empty());
    }
}
