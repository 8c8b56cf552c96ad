//! Workers.

use bytes::Bytes;

use super::samples::{at, text};
use crate::{Store, StoreError, Worker};

/// A worker with a credential made of its name.
pub(super) fn worker(name: &str) -> Worker {
    let mut credential = [0; 32];
    credential[..name.len()].copy_from_slice(name.as_bytes());
    Worker {
        name: name.to_owned(),
        credential,
        description: Bytes::new(),
        enrolled_at: at(1),
        alive_until: at(0),
        draining: false,
    }
}

/// A worker is enrolled once, found by its credential, kept alive, drained and removed.
pub async fn workers_are_enrolled_touched_and_removed(store: &dyn Store) {
    store.enrol_worker(worker("b")).await.expect("enrol");
    store.enrol_worker(worker("a")).await.expect("enrol");
    let again = store.enrol_worker(Worker { credential: [9; 32], ..worker("a") }).await;
    assert!(matches!(again, Err(StoreError::Exists { .. })), "{again:?}");

    store.describe_worker("a", text("labels")).await.expect("describe");
    let alive = vec![("a".to_owned(), at(50)), ("nobody".to_owned(), at(50))];
    store.touch_workers(alive).await.expect("touch");
    store.touch_workers(vec![("a".to_owned(), at(40))]).await.expect("touch");
    assert!(store.set_drain("a", true).await.expect("drain"));
    assert!(!store.set_drain("nobody", true).await.expect("drain"));

    let changed = Worker { description: text("labels"), alive_until: at(50), draining: true, ..worker("a") };
    assert_eq!(store.workers().await.expect("workers"), [changed.clone(), worker("b")]);
    assert_eq!(store.worker_by_hash(&worker("a").credential).await.expect("by hash"), Some(changed));

    assert!(store.remove_worker("a").await.expect("remove"));
    assert!(!store.remove_worker("a").await.expect("remove"));
    assert_eq!(store.worker_by_hash(&worker("a").credential).await.expect("by hash"), None);
}
