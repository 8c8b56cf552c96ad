//! The sandbox backend: it makes pods and keeps what owns them alive.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::networking::v1::NetworkPolicy;
use kube::api::ListParams;
use kube::{Api, Client};
use protocol::frame::LayerReport;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::task::AbortOnDropHandle;

use super::config::{KubernetesConfig, NetworkCheck};
use super::connect::{Cluster, connect};
use super::lease::{self, Owner, Sweeper};
use super::pod::{self, Particulars};
use super::reason::unavailable;
use super::sandbox::{KubernetesSandbox, OwnPod};
use super::watch::{Pods, watch};
use super::{NAME, WORKER_LABEL, network};
use crate::{Backend, Capabilities, Sandbox, SandboxError, SandboxId, Session, Template};

/// How long a look at the network policies holds.
const POLICY_AGE: Duration = Duration::from_secs(20);
/// Memory of an idle pod: the guest, the container that holds the namespaces, and what the runtime keeps of both.
const IDLE_BYTES: u64 = 32 << 20;
/// Time until a pod is ready, as measured on one node with its images there.
const CREATE_MS: u32 = 2000;
/// The lease is renewed so many times in its duration.
const RENEWALS: u32 = 3;

/// Makes sandboxes in a cluster.
pub struct KubernetesBackend {
    config: KubernetesConfig,
    cluster: OnceCell<Connected>,
}

/// What there is once the cluster is known.
struct Connected {
    shared: Arc<Shared>,
    /// Tasks that end with this.
    _watching: AbortOnDropHandle<()>,
    _keeping: AbortOnDropHandle<()>,
}

/// What the backend, its sandboxes and its tasks share.
pub(super) struct Shared {
    pub(super) client: Client,
    pub(super) config: KubernetesConfig,
    pub(super) namespace: String,
    pub(super) pods: Api<Pod>,
    pub(super) seen: Arc<Pods>,
    leases: Api<Lease>,
    policies: Api<NetworkPolicy>,
    api: Vec<std::net::SocketAddr>,
    /// Name of the worker's lease, and of the worker in labels.
    worker: String,
    owner: Mutex<Option<Owner>>,
    /// When the network policies were last found in order.
    closed: Mutex<Option<Instant>>,
    warned: OnceLock<()>,
}

impl KubernetesBackend {
    /// Sandboxes in the cluster that `config` names. It is looked for by [`Backend::check`] or by the first sandbox.
    pub fn new(config: KubernetesConfig) -> Arc<Self> {
        Arc::new(Self { config, cluster: OnceCell::new() })
    }

    async fn shared(&self) -> Result<&Arc<Shared>, SandboxError> {
        let connected = self.cluster.get_or_try_init(|| Connected::to(self.config.clone())).await?;
        Ok(&connected.shared)
    }

    /// Removes everything that this worker has in the cluster. Without it others do so when the lease has run out.
    pub async fn close(&self) -> Result<(), SandboxError> {
        let Some(Connected { shared, .. }) = self.cluster.get() else { return Ok(()) };
        let mut owner = shared.owner.lock().await;
        if owner.take().is_some() {
            lease::remove(&shared.leases, &shared.pods, &shared.worker).await?;
        }
        Ok(())
    }
}

impl Connected {
    async fn to(config: KubernetesConfig) -> Result<Self, SandboxError> {
        let Cluster { client, namespace, api } = connect(&config).await?;
        let worker = format!("sagewai-worker-{}", uuid::Uuid::now_v7().simple());
        let shared = Arc::new(Shared {
            pods: Api::namespaced(client.clone(), &namespace),
            leases: Api::namespaced(client.clone(), &namespace),
            policies: Api::namespaced(client.clone(), &namespace),
            client,
            config,
            namespace,
            seen: Arc::default(),
            api,
            worker,
            owner: Mutex::default(),
            closed: Mutex::default(),
            warned: OnceLock::new(),
        });
        let selector = format!("{WORKER_LABEL}={}", shared.worker);
        let watching = tokio::spawn(watch(shared.pods.clone(), selector, Arc::clone(&shared.seen)));
        let keeping = tokio::spawn(keep(Arc::clone(&shared)));
        let (_watching, _keeping) = (AbortOnDropHandle::new(watching), AbortOnDropHandle::new(keeping));
        Ok(Self { shared, _watching, _keeping })
    }
}

impl Shared {
    /// The worker's lease; makes it the first time.
    async fn owner(&self) -> Result<Owner, SandboxError> {
        let mut owner = self.owner.lock().await;
        if let Some(owner) = &*owner {
            return Ok(owner.clone());
        }
        let made = lease::create(&self.leases, &self.worker, self.config.lease_seconds).await?;
        *owner = Some(made.clone());
        Ok(made)
    }

    /// Whether the cluster has no pod of that name.
    pub(super) async fn is_gone(&self, name: &str) -> bool {
        let named = ListParams::default().fields(&format!("metadata.name={name}"));
        self.pods.list(&named).await.is_ok_and(|listed| listed.items.is_empty())
    }

    /// Sees to it that the network of sandboxes is closed, as far as the API knows.
    async fn close_network(&self) -> Result<(), SandboxError> {
        if self.config.network == NetworkCheck::AssumeClosed {
            self.warned.get_or_init(|| {
                tracing::warn!(
                    namespace = self.namespace,
                    "sandboxes in Kubernetes start in whatever network their pods have: `kubernetes.network = \"assume-closed\"`"
                );
            });
            return Ok(());
        }
        let mut closed = self.closed.lock().await;
        if closed.is_some_and(|at| at.elapsed() < POLICY_AGE) {
            return Ok(());
        }
        network::close(&self.policies, &pod::labels(&self.config, &self.worker)).await?;
        *closed = Some(Instant::now());
        Ok(())
    }
}

/// Renews the lease, and sweeps what others left.
async fn keep(shared: Arc<Shared>) {
    let pause = Duration::from_secs(shared.config.lease_seconds.max(1).into()) / RENEWALS;
    let mut sweeper = Sweeper::default();
    loop {
        let owner = shared.owner.lock().await.clone();
        if let Some(owner) = &owner {
            match lease::renew(&shared.leases, owner).await {
                Ok(true) => {}
                // Another worker took this one for dead and removed its pods. The next sandbox has a new lease.
                Ok(false) => {
                    tracing::warn!(worker = owner.name, "the worker's lease is gone from the cluster");
                    *shared.owner.lock().await = None;
                }
                Err(error) => tracing::warn!(%error, "failed to renew the worker's lease"),
            }
        }
        if let Err(error) = sweeper.sweep(&shared.leases, &shared.pods, &shared.worker).await {
            tracing::debug!(%error, "failed to sweep");
        }
        if let Err(error) = remove_strays(&shared).await {
            tracing::debug!(%error, "failed to remove pods that nobody uses");
        }
        tokio::time::sleep(pause).await;
    }
}

/// Removes pods of this worker that nobody here knows: those whose removal failed.
async fn remove_strays(shared: &Shared) -> Result<(), SandboxError> {
    let selector = format!("{WORKER_LABEL}={}", shared.worker);
    let listed = shared.pods.list(&ListParams::default().labels(&selector)).await;
    let listed = listed.map_err(|error| super::reason::refused("list pods", &error))?;
    for pod in listed.items {
        let name = pod.metadata.name.unwrap_or_default();
        if !shared.seen.knows(&name) && pod.metadata.deletion_timestamp.is_none() {
            lease::remove_pod(&shared.pods, &name, pod.metadata.uid).await?;
        }
    }
    Ok(())
}

#[async_trait]
impl Backend for KubernetesBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            tunnel: self.config.low_ports,
            // A pod has an interface; a policy closes it.
            tunnel_only: false,
            // It is the kubelet's (`podPidsLimit`), the same for all pods.
            process_limit: false,
            // Of a memory volume only the size can be said; its files cost memory, which is limited.
            file_limit: false,
            own_quotas: false,
            hides_host: false,
            local: false,
            longest_step: Some(Duration::from_secs(self.config.pod_seconds)),
            idle_bytes: IDLE_BYTES,
            create_ms: CREATE_MS,
            ..Capabilities::default()
        }
    }

    async fn check(&self) -> Result<(), SandboxError> {
        let shared = self.shared().await?;
        shared.owner().await?;
        shared.close_network().await
    }

    async fn create(&self, template: &Template) -> Result<Box<dyn Sandbox>, SandboxError> {
        let shared = self.shared().await?;
        let Some(image) = template.image.as_ref().or(shared.config.image.as_ref()) else {
            return Err(unavailable(
                "the step names no image, and there is no default",
                "name an `image` in the step, or one for all in `kubernetes.image`",
            ));
        };
        let owner = shared.owner().await?;
        shared.close_network().await?;
        let unique = uuid::Uuid::now_v7();
        let name = format!("sagewai-{}", unique.simple());
        let number = unique.as_u128() as u32;
        let manifest = pod::pod(
            &shared.config,
            &Particulars {
                name: &name,
                image,
                limits: template.limits,
                lease: &owner.name,
                lease_uid: &owner.uid,
                api: &shared.api,
                number,
            },
        );
        let mut pod = OwnPod::create(shared, &manifest).await?;
        pod.await_running().await?;
        let channel = Some(pod.enter().await?);
        Ok(Box::new(KubernetesSandbox { id: SandboxId::new(name), pod, channel }))
    }

    async fn layers(&self) -> Result<Vec<LayerReport>, SandboxError> {
        let sandbox = self.create(&Template::default()).await?;
        let session = Session::open(sandbox, &[]).await?;
        let layers = session.layers().to_vec();
        session.discard().await?;
        Ok(layers)
    }
}
