//! One look at all pods of this worker: whoever waits for a pod is told what becomes of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ListParams, WatchEvent, WatchParams};
use tokio::sync::watch;

/// After so many seconds the API ends a watch, and the next begins where it ended.
const WATCH_SECONDS: u32 = 240;
/// Pause after the API could not be asked.
const RETRY: Duration = Duration::from_secs(1);

/// What is known of a pod.
#[derive(Clone, Debug, Default)]
pub(super) enum Seen {
    /// Nothing yet.
    #[default]
    Nothing,
    /// Its newest state.
    Pod(Box<Pod>),
    /// It is no more.
    Gone,
}

/// Who waits for which pod.
#[derive(Default)]
pub(super) struct Pods {
    waiting: Mutex<HashMap<String, watch::Sender<Seen>>>,
}

impl Pods {
    /// What becomes of the pod of that name, from now on; subscribe before it is made.
    pub(super) fn follow(&self, name: &str) -> watch::Receiver<Seen> {
        let (sender, receiver) = watch::channel(Seen::Nothing);
        self.lock().insert(name.to_owned(), sender);
        receiver
    }

    /// Nobody waits for it any more.
    pub(super) fn forget(&self, name: &str) {
        self.lock().remove(name);
    }

    /// Whether someone waits for it.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.lock().contains_key(name)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, watch::Sender<Seen>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, name: &str, seen: Seen) {
        if let Some(sender) = self.lock().get(name) {
            sender.send_replace(seen);
        }
    }

    /// Tells of all pods that exist; those that were seen before and are not among them are gone.
    fn tell_all(&self, pods: Vec<Pod>) {
        let mut listed: HashMap<String, Pod> =
            pods.into_iter().filter_map(|pod| Some((pod.metadata.name.clone()?, pod))).collect();
        for (name, sender) in self.lock().iter() {
            match listed.remove(name) {
                Some(pod) => drop(sender.send_replace(Seen::Pod(Box::new(pod)))),
                None => {
                    sender.send_if_modified(|seen| {
                        let was = matches!(seen, Seen::Pod(_));
                        if was {
                            *seen = Seen::Gone;
                        }
                        was
                    });
                }
            }
        }
    }
}

/// Watches pods with `selector` for ever.
pub(super) async fn watch(api: Api<Pod>, selector: String, pods: Arc<Pods>) {
    loop {
        if let Err(error) = list_and_watch(&api, &selector, &pods).await {
            tracing::debug!(%error, "the watch of pods broke off");
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Ends without an error where the API says that the place in its history is too old.
async fn list_and_watch(api: &Api<Pod>, selector: &str, pods: &Pods) -> Result<(), kube::Error> {
    let list = api.list(&ListParams::default().labels(selector)).await?;
    let mut place = list.metadata.resource_version.unwrap_or_default();
    pods.tell_all(list.items);
    let parameters = WatchParams::default().labels(selector).timeout(WATCH_SECONDS);
    loop {
        let mut events = std::pin::pin!(api.watch(&parameters, &place).await?);
        while let Some(event) = events.next().await {
            let (pod, gone) = match event? {
                WatchEvent::Added(pod) | WatchEvent::Modified(pod) => (pod, false),
                WatchEvent::Deleted(pod) => (pod, true),
                WatchEvent::Bookmark(bookmark) => {
                    place = bookmark.metadata.resource_version;
                    continue;
                }
                WatchEvent::Error(_) => return Ok(()),
            };
            if let Some(version) = &pod.metadata.resource_version {
                place.clone_from(version);
            }
            let Some(name) = pod.metadata.name.clone() else { continue };
            pods.tell(&name, if gone { Seen::Gone } else { Seen::Pod(Box::new(pod)) });
        }
    }
}
