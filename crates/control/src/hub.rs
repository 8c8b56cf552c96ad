//! A hub tells what happens to a run to all who follow it. A run that nobody follows costs a look at a counter.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use protocol::id::RunId;
use tokio::sync::broadcast;

/// Followers of runs.
#[derive(Debug)]
pub(crate) struct Hub<T> {
    followed: Mutex<HashMap<RunId, broadcast::Sender<T>>>,
    count: AtomicUsize,
    buffer: usize,
}

impl<T: Clone> Hub<T> {
    /// A hub that keeps `buffer` items for a follower that does not keep up.
    pub(crate) fn new(buffer: usize) -> Self {
        Hub { followed: Mutex::default(), count: AtomicUsize::new(0), buffer }
    }

    fn followed(&self) -> std::sync::MutexGuard<'_, HashMap<RunId, broadcast::Sender<T>>> {
        self.followed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether someone follows the run.
    pub(crate) fn is_followed(&self, run: RunId) -> bool {
        self.count.load(Ordering::Acquire) > 0 && self.followed().contains_key(&run)
    }

    /// Tells the run's followers.
    pub(crate) fn tell(&self, run: RunId, item: T) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        if let Some(sender) = self.followed().get(&run) {
            // Without a receiver, its last follower is just leaving.
            let _ = sender.send(item);
        }
    }

    /// Follows a run from now on.
    pub(crate) fn follow(self: &Arc<Self>, run: RunId) -> Following<T> {
        let mut followed = self.followed();
        let sender = followed.entry(run).or_insert_with(|| broadcast::Sender::new(self.buffer));
        let receiver = sender.subscribe();
        self.count.store(followed.len(), Ordering::Release);
        Following { receiver: Some(receiver), hub: Arc::clone(self), run }
    }
}

/// One follower of a run.
#[derive(Debug)]
pub(crate) struct Following<T> {
    receiver: Option<broadcast::Receiver<T>>,
    hub: Arc<Hub<T>>,
    run: RunId,
}

/// What a follower gets.
#[derive(Debug, PartialEq)]
pub(crate) enum Told<T> {
    /// The next item.
    Item(T),
    /// The follower did not keep up, and items were dropped.
    Missed,
}

impl<T: Clone> Following<T> {
    /// Waits for the next item.
    pub(crate) async fn next(&mut self) -> Told<T> {
        let receiver = self.receiver.as_mut().expect("a follower has a receiver until it is dropped");
        match receiver.recv().await {
            Ok(item) => Told::Item(item),
            Err(broadcast::error::RecvError::Lagged(_)) => Told::Missed,
            // The hub keeps the sender while this follower lives.
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

impl<T> Drop for Following<T> {
    fn drop(&mut self) {
        let mut followed = self.hub.followed.lock().unwrap_or_else(PoisonError::into_inner);
        self.receiver = None;
        if followed.get(&self.run).is_some_and(|sender| sender.receiver_count() == 0) {
            followed.remove(&self.run);
        }
        self.hub.count.store(followed.len(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[tokio::test]
    async fn followers_get_their_run_only_and_are_told_what_they_missed() {
        let hub = Arc::new(Hub::new(2));
        let (mine, other) = (RunId(Uuid::from_u128(1)), RunId(Uuid::from_u128(2)));
        let mut following = hub.follow(mine);
        hub.tell(other, 1);
        hub.tell(mine, 2);
        assert_eq!(following.next().await, Told::Item(2));
        for item in 3..9 {
            hub.tell(mine, item);
        }
        assert_eq!(following.next().await, Told::Missed);
        assert_eq!(following.next().await, Told::Item(7));
        drop(following);
        assert!(!hub.is_followed(mine));
    }
}
