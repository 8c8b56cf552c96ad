//! Makes sandboxes at a daemon.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock, Weak};
use std::time::Duration;

use async_trait::async_trait;
use bollard::Docker;
use protocol::frame::{Layer, LayerReport};
use tokio::sync::Mutex;

use super::attach::attach;
use super::container::{GUEST, Plan, container};
use super::guest_volume;
use super::image::{LocalImage, bring, own_architecture};
use super::options::Host;
use super::sandbox::DockerSandbox;
use super::sweep::{self, Labels, sweep};
use super::trouble::{Trouble, from_bollard};
use super::{DockerOptions, NAME, Pull};
use crate::{Backend, Capabilities, Image, Sandbox, SandboxError, SandboxId, Session, Template};

/// Memory of an idle sandbox, bytes: the guest, and the daemon's shim beside it.
const IDLE_BYTES: u64 = 7 << 20;
/// How often what killed workers left is looked for.
const SWEEP_EVERY: Duration = Duration::from_secs(300);
/// Images whose configuration is remembered.
const MAX_IMAGES: usize = 256;
/// Characters of a container's id that name it in logs, as Docker's own client shows it.
const SHORT_ID: usize = 12;

/// Makes sandboxes out of containers of a Docker or Podman daemon.
pub struct DockerBackend {
    shared: Arc<Shared>,
}

struct Shared {
    options: DockerOptions,
    host: Arc<str>,
    labels: Labels,
    /// The client, made when it is first needed: the daemon may come later than the worker.
    client: Mutex<Option<Docker>>,
    /// What the daemon can enforce, asked once per client.
    layers: RwLock<Vec<LayerReport>>,
    /// The volume with the guest, once it is filled.
    volume: Mutex<Option<String>>,
    /// By reference or pinned name; they are looked at again where the policy says so.
    images: RwLock<HashMap<String, Arc<LocalImage>>>,
    swept: AtomicBool,
}

impl DockerBackend {
    /// A sandbox backend over the daemon that `options` names; whether it answers, [`Backend::check`] says. Starts a task
    /// that looks for what killed workers left, so it needs a tokio runtime.
    pub fn new(options: DockerOptions) -> Arc<Self> {
        let labels = Labels { owner: options.owner.clone(), boot: uuid::Uuid::now_v7().simple().to_string() };
        let shared = Arc::new(Shared {
            host: options.host.text().into(),
            options,
            labels,
            client: Mutex::default(),
            layers: RwLock::default(),
            volume: Mutex::default(),
            images: RwLock::default(),
            swept: AtomicBool::new(false),
        });
        tokio::spawn(keep_swept(Arc::downgrade(&shared)));
        Arc::new(Self { shared })
    }
}

/// Sweeps from time to time, for as long as the sandbox backend is in use.
async fn keep_swept(shared: Weak<Shared>) {
    loop {
        tokio::time::sleep(SWEEP_EVERY).await;
        let Some(shared) = shared.upgrade() else { return };
        if let Ok(docker) = shared.client().await {
            shared.sweep(&docker).await;
        }
    }
}

impl Shared {
    fn error(&self, trouble: Trouble) -> SandboxError {
        trouble.into_error(&self.host)
    }

    async fn client(&self) -> Result<Docker, SandboxError> {
        let mut client = self.client.lock().await;
        if let Some(docker) = &*client {
            return Ok(docker.clone());
        }
        let docker =
            super::connect::connect(&self.options.host).await.map_err(|trouble| self.error(trouble))?;
        self.look_around(&docker).await?;
        *client = Some(docker.clone());
        Ok(docker)
    }

    /// What the daemon's machine can do. It must have this machine's architecture, since the guest is ours.
    async fn look_around(&self, docker: &Docker) -> Result<(), SandboxError> {
        let info = docker.info().await.map_err(|error| self.error(from_bollard(error)))?;
        let architecture = info.architecture.unwrap_or_default();
        if ![std::env::consts::ARCH, own_architecture(), ""].contains(&architecture.as_str()) {
            return Err(SandboxError::Unavailable {
                backend: NAME,
                reason: format!("the daemon at {} is on {architecture}, this worker on another", self.host),
                remedy: "run the worker on a machine of the daemon's architecture".to_owned(),
            });
        }
        let limited = [
            ("memory", info.memory_limit),
            ("swap", info.swap_limit),
            ("CPU", info.cpu_cfs_quota),
            ("processes", info.pids_limit),
        ];
        let absent: Vec<&str> =
            limited.iter().filter(|(_, can)| *can != Some(true)).map(|(what, _)| *what).collect();
        let own = |layer| LayerReport { layer, enforced: true, note: String::new() };
        let cgroup = LayerReport {
            layer: Layer::Cgroup,
            enforced: absent.is_empty(),
            note: match absent.is_empty() {
                true => String::new(),
                false => format!(
                    "the daemon cannot limit {}: enable these cgroup controllers there (a rootless daemon needs cgroup v2)",
                    absent.join(", ")
                ),
            },
        };
        let layers =
            vec![own(Layer::MountNamespace), own(Layer::IpcNamespace), own(Layer::UtsNamespace), cgroup];
        *self.layers.write().unwrap_or_else(PoisonError::into_inner) = layers;
        Ok(())
    }

    async fn sweep(&self, docker: &Docker) {
        match sweep(docker, &self.labels).await {
            Ok(0) => {}
            Ok(removed) => {
                tracing::info!(removed, "removed sandboxes that a killed worker left at the Docker daemon")
            }
            Err(trouble) => tracing::warn!(?trouble, "failed to look for sandboxes that killed workers left"),
        }
    }

    /// An image, looked at or brought as the policy says; under `Always` only where a step asks for it.
    async fn image(
        &self,
        docker: &Docker,
        reference: &str,
        policy: Pull,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Arc<LocalImage>, SandboxError> {
        let registries = self.options.registries.as_deref();
        let found = Arc::new(bring(docker, &self.host, reference, policy, registries, tell).await?);
        let mut images = self.images.write().unwrap_or_else(PoisonError::into_inner);
        if images.len() >= MAX_IMAGES {
            images.clear();
        }
        images.insert(reference.to_owned(), Arc::clone(&found));
        images.insert(found.image.pinned.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// The image of a template. It is the one that was found when it was brought, so that sandboxes of one template are
    /// alike.
    async fn known_image(&self, docker: &Docker, reference: &str) -> Result<Arc<LocalImage>, SandboxError> {
        let known = self.images.read().unwrap_or_else(PoisonError::into_inner).get(reference).cloned();
        match known {
            Some(image) => Ok(image),
            None => self.image(docker, reference, self.options.pull, &|_| ()).await,
        }
    }

    async fn volume(&self, docker: &Docker, image: &LocalImage) -> Result<String, Trouble> {
        let mut volume = self.volume.lock().await;
        if let Some(name) = &*volume {
            return Ok(name.clone());
        }
        let name = guest_volume::fill(docker, &image.id, &self.labels).await?;
        *volume = Some(name.clone());
        Ok(name)
    }

    async fn make(
        &self,
        docker: &Docker,
        template: &Template,
        image: &LocalImage,
    ) -> Result<DockerSandbox, Trouble> {
        let volume = self.volume(docker, image).await?;
        let body = container(Plan {
            image,
            limits: template.limits,
            volume: &volume,
            runtime: self.options.runtime.as_deref(),
            labels: self.labels.of("sandbox"),
        });
        let made = docker.create_container(None, body).await.map_err(from_bollard)?.id;
        let begun = async {
            let (channel, words) = attach(docker, &made).await?;
            docker.start_container(&made, None).await.map_err(from_bollard)?;
            Ok((channel, words))
        };
        let (channel, words) = match begun.await {
            Ok(begun) => begun,
            Err(trouble) => {
                // The reason is worth more than what its removal says; a sweep tries again.
                _ = sweep::remove(docker, &made).await;
                return Err(trouble);
            }
        };
        Ok(DockerSandbox {
            id: SandboxId::new(&made[..made.len().min(SHORT_ID)]),
            container: made,
            docker: docker.clone(),
            host: Arc::clone(&self.host),
            layers: self.layers.read().unwrap_or_else(PoisonError::into_inner).clone(),
            channel: Some(channel),
            words,
            memory_bytes: template.limits.memory_bytes,
            removed: false,
        })
    }

    /// What was remembered of the daemon may be wrong: images and volumes are removed by others.
    async fn forget(&self) {
        *self.volume.lock().await = None;
        self.images.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[async_trait]
impl Backend for DockerBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            disk_limit: false,
            own_quotas: false,
            hides_host: false,
            local: matches!(self.shared.options.host, Host::Unix(_)),
            idle_bytes: IDLE_BYTES,
            create_ms: 200,
            ..Capabilities::default()
        }
    }

    async fn check(&self) -> Result<(), SandboxError> {
        let docker = self.shared.client().await?;
        docker.ping().await.map_err(|error| self.shared.error(from_bollard(error)))?;
        if !self.shared.swept.swap(true, Ordering::Relaxed) {
            self.shared.sweep(&docker).await;
        }
        Ok(())
    }

    async fn pull(
        &self,
        image: &str,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Option<Image>, SandboxError> {
        let docker = self.shared.client().await?;
        let found = self.shared.image(&docker, image, self.shared.options.pull, tell).await?;
        Ok(Some(found.image.clone()))
    }

    async fn create(&self, template: &Template) -> Result<Box<dyn Sandbox>, SandboxError> {
        let shared = &self.shared;
        let docker = shared.client().await?;
        let reference = template.image.as_deref().unwrap_or(&shared.options.image);
        let image = shared.known_image(&docker, reference).await?;
        let trouble = match shared.make(&docker, template, &image).await {
            Ok(sandbox) => return Ok(Box::new(sandbox)),
            Err(trouble) if is_stale(&trouble) => trouble,
            Err(trouble) => return Err(shared.error(trouble)),
        };
        tracing::debug!(?trouble, "what was known of the daemon is out of date; looking again");
        shared.forget().await;
        let image = shared.known_image(&docker, reference).await?;
        let sandbox =
            shared.make(&docker, template, &image).await.map_err(|trouble| shared.error(trouble))?;
        Ok(Box::new(sandbox))
    }

    async fn layers(&self) -> Result<Vec<LayerReport>, SandboxError> {
        let sandbox = self.create(&Template::default()).await?;
        let session = Session::open(sandbox, &[]).await?;
        let layers = session.layers().to_vec();
        session.discard().await?;
        Ok(layers)
    }
}

/// Whether an image or the guest's volume was removed since it was looked at, or another worker is just filling the
/// volume.
fn is_stale(trouble: &Trouble) -> bool {
    let Trouble::Refused(_, message) = trouble else { return false };
    trouble.is_missing()
        || message.contains("No such image")
        || (message.contains(GUEST)
            && (message.contains("no such file") || message.contains("text file busy")))
}
