//! One pod, from its making until nothing of it is left.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use k8s_openapi::api::core::v1::{Event, Pod};
use kube::api::{ListParams, PostParams};
use protocol::frame::{Layer, LayerReport};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::attach::attach;
use super::backend::Shared;
use super::fate::{self, Fate};
use super::lease::remove_pod;
use super::reason::refused;
use super::watch::Seen;
use crate::{Channel, Sandbox, SandboxError, SandboxId};

/// The longest a node may take to end a pod.
const END_LIMIT: Duration = Duration::from_secs(60);
/// How often the cluster is asked whether a pod is gone, if the watch of all pods does not tell.
const GONE_LOOK: Duration = Duration::from_secs(5);
/// The longest the cluster may take to tell why a channel ended.
const OBITUARY_LIMIT: Duration = Duration::from_secs(5);
/// The longest an attach may be refused because the node is not as far as the API says.
const ATTACH_LIMIT: Duration = Duration::from_secs(10);
/// Pause between two tries to attach.
const ATTACH_RETRY: Duration = Duration::from_millis(200);
/// Events of a pod that are read at most.
const MOST_EVENTS: u32 = 50;

/// A pod that was asked for. Dropped, it is removed without waiting.
pub(super) struct OwnPod {
    shared: Arc<Shared>,
    name: String,
    uid: Option<String>,
    seen: watch::Receiver<Seen>,
    removed: bool,
}

impl OwnPod {
    /// Asks for the pod.
    pub(super) async fn create(shared: &Arc<Shared>, pod: &Pod) -> Result<Self, SandboxError> {
        let name = pod.metadata.name.clone().unwrap_or_default();
        // From here on a pod of that name is removed even if the answer is lost.
        let seen = shared.seen.follow(&name);
        let mut own = Self { shared: Arc::clone(shared), name, uid: None, seen, removed: false };
        let made = shared.pods.create(&PostParams::default(), pod).await;
        own.uid = made.map_err(|error| refused("create a pod", &error))?.metadata.uid;
        Ok(own)
    }

    /// Waits until its container runs.
    pub(super) async fn await_running(&mut self) -> Result<(), SandboxError> {
        let schedule = Duration::from_secs(self.shared.config.schedule_seconds);
        let start = Duration::from_secs(self.shared.config.start_seconds);
        let asked = Instant::now();
        let mut placed: Option<Instant> = None;
        loop {
            let (deadline, late) = match self.fate() {
                None => {
                    return Err(SandboxError::Ended(Some("its pod was deleted by someone else".to_owned())));
                }
                Some(Fate::Running) => return Ok(()),
                Some(Fate::NoImage(why)) => return Err(SandboxError::Image(self.with_events(why).await)),
                Some(Fate::Ended(why)) => return Err(SandboxError::Create(self.with_events(why).await)),
                Some(Fate::Unscheduled(why)) => (
                    asked + schedule,
                    format!(
                        "no node takes the pod within {} s{}; free or add nodes, lower the step's `resources`, or correct \
                     `kubernetes.node-selector` and `kubernetes.tolerations`",
                        schedule.as_secs(),
                        why.map(|why| format!(": {why}")).unwrap_or_default()
                    ),
                ),
                Some(Fate::Starting) => {
                    let placed = *placed.get_or_insert_with(Instant::now);
                    (
                        placed + start,
                        format!("the pod does not run within {} s of having a node", start.as_secs()),
                    )
                }
            };
            match timeout_at(deadline, self.seen.changed()).await {
                Ok(Ok(())) => {}
                _ => return Err(SandboxError::Create(self.with_events(late).await)),
            }
        }
    }

    /// Attaches, and waits for the guest's answer.
    pub(super) async fn enter(&mut self) -> Result<Channel, SandboxError> {
        let began = Instant::now();
        let attached = loop {
            let mut seen = self.seen.clone();
            let why = Box::pin(async move { obituary(&mut seen).await });
            match attach(&self.shared.client, &self.shared.namespace, &self.name, why).await {
                Ok(attached) => break attached,
                Err(error) if began.elapsed() > ATTACH_LIMIT => {
                    return Err(refused("attach to a pod", &error));
                }
                Err(kube::Error::Api(status)) if status.code == 403 || status.code == 401 => {
                    return Err(refused("attach to a pod", &kube::Error::Api(status)));
                }
                // The node is not as far as the API said, or the pod has ended meanwhile.
                Err(_) => match self.fate() {
                    Some(Fate::Ended(why)) => return Err(SandboxError::Create(self.with_events(why).await)),
                    _ => sleep(ATTACH_RETRY).await,
                },
            }
        };
        match attached.enter().await {
            Err(SandboxError::Ended(said)) => Err(SandboxError::Create(
                self.obituary()
                    .await
                    .or(said)
                    .unwrap_or_else(|| "the connection to its pod was cut".to_owned()),
            )),
            entered => entered,
        }
    }

    fn fate(&self) -> Option<Fate> {
        match &*self.seen.borrow() {
            Seen::Nothing => Some(Fate::Unscheduled(None)),
            Seen::Pod(pod) => Some(fate::of(pod)),
            Seen::Gone => None,
        }
    }

    /// Why it ended, if the cluster says so soon.
    pub(super) async fn obituary(&mut self) -> Option<String> {
        obituary(&mut self.seen).await
    }

    async fn with_events(&self, why: String) -> String {
        match self.events().await {
            Some(events) => format!("{why} (the cluster's last warnings: {events})"),
            None => why,
        }
    }

    /// What the cluster has warned of; nothing where the worker may not read events.
    async fn events(&self) -> Option<String> {
        let events: kube::Api<Event> =
            kube::Api::namespaced(self.shared.client.clone(), &self.shared.namespace);
        let of_pod = format!("involvedObject.uid={}", self.uid.as_deref()?);
        let listed = events.list(&ListParams::default().fields(&of_pod).limit(MOST_EVENTS)).await.ok()?;
        fate::warnings(listed.items)
    }

    /// Removes it and waits until nothing of it runs. The node takes its folders away and the cluster its entry a little
    /// later; neither counts against quotas or the room on a node.
    async fn remove(mut self) -> Result<(), SandboxError> {
        remove_pod(&self.shared.pods, &self.name, self.uid.take()).await?;
        self.removed = true;
        let gone = async {
            loop {
                let told = self.seen.wait_for(has_ended);
                if timeout(GONE_LOOK, told).await.is_ok() || self.shared.is_gone(&self.name).await {
                    return;
                }
            }
        };
        timeout(END_LIMIT, gone).await.map_err(|_| {
            SandboxError::Ended(Some(format!(
                "pod {} was told to end and is still there after {END_LIMIT:?}: its node does not answer, and removes it \
                 once it does",
                self.name
            )))
        })
    }
}

/// Whether it is gone, or is going and its processes are.
fn has_ended(seen: &Seen) -> bool {
    match seen {
        Seen::Nothing => false,
        Seen::Pod(pod) => {
            pod.metadata.deletion_timestamp.is_some()
                && matches!(fate::of(pod), Fate::Ended(_) | Fate::NoImage(_))
        }
        Seen::Gone => true,
    }
}

impl Drop for OwnPod {
    fn drop(&mut self) {
        self.shared.seen.forget(&self.name);
        if self.removed {
            return;
        }
        // Where no runtime is left, the lease runs out and the next sweep removes it.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (shared, name) = (Arc::clone(&self.shared), std::mem::take(&mut self.name));
            runtime.spawn(async move {
                if let Err(error) = remove_pod(&shared.pods, &name, None).await {
                    tracing::warn!(%error, pod = name, "failed to remove a pod; the sweep tries again");
                }
            });
        }
    }
}

/// Why the pod ended, if the cluster says so soon.
async fn obituary(seen: &mut watch::Receiver<Seen>) -> Option<String> {
    let ended = seen.wait_for(|seen| match seen {
        Seen::Pod(pod) => matches!(fate::of(pod), Fate::Ended(_)),
        Seen::Gone => true,
        Seen::Nothing => false,
    });
    let seen = timeout(OBITUARY_LIMIT, ended).await.ok()?.ok()?;
    match &*seen {
        Seen::Pod(pod) => match fate::of(pod) {
            Fate::Ended(why) => Some(why),
            _ => None,
        },
        _ => Some("its pod was deleted".to_owned()),
    }
}

/// A sandbox in a pod.
pub(super) struct KubernetesSandbox {
    pub(super) id: SandboxId,
    pub(super) pod: OwnPod,
    pub(super) channel: Option<Channel>,
}

/// What a container runtime sets up for every container, and the guest cannot see from inside.
pub(super) fn layers() -> Vec<LayerReport> {
    let made = [Layer::MountNamespace, Layer::IpcNamespace, Layer::UtsNamespace, Layer::Cgroup];
    let mut reports: Vec<LayerReport> =
        made.map(|layer| LayerReport { layer, enforced: true, note: String::new() }).into();
    reports.push(LayerReport {
        layer: Layer::Landlock,
        enforced: false,
        note: "a pod has none; its root is read-only and holds the image alone".to_owned(),
    });
    reports
}

#[async_trait]
impl Sandbox for KubernetesSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn layers(&self) -> Vec<LayerReport> {
        layers()
    }

    fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }

    async fn obituary(&mut self) -> Option<String> {
        self.pod.obituary().await
    }

    async fn discard(self: Box<Self>) -> Result<(), SandboxError> {
        self.pod.remove().await
    }
}
