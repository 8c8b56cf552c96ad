//! The namespace sandbox backend: the worker's side of the spawner.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use protocol::frame::LayerReport;
use sandbox::oci::{HeldLayer, Images};
use sandbox::{Backend, Capabilities, Channel, Image, Sandbox, SandboxError, SandboxId, Session, Template};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncReadExt, Interest};
use tokio::net::unix::pipe;
use tokio::sync::{mpsc, oneshot};

use crate::Spawner;
use crate::sys;
use crate::wire::{self, Limits, Reply, Request};

/// Name of this sandbox backend.
const NAME: &str = "namespace";
/// Orders that may wait to be sent.
const MAX_WAITING: usize = 1024;
/// Requests without an answer yet, at most: they and their answers fit into the socket's buffers, so that neither side
/// can wait for the other to read.
const MAX_UNANSWERED: usize = 64;
/// Memory of an idle sandbox, bytes: the guest, page tables, kernel objects.
const IDLE_BYTES: u64 = 400 << 10;
/// The longest a killed sandbox may take to be dead before it is left to the spawner.
const KILL_LIMIT: Duration = Duration::from_secs(10);
/// Bytes of the first words of a sandbox that failed, at most.
const MAX_OBITUARY_BYTES: u64 = 4096;

/// Makes sandboxes out of Linux namespaces, by way of a spawner.
pub struct NamespaceBackend {
    orders: mpsc::Sender<Order>,
    layers: Vec<LayerReport>,
    cgroups: bool,
    path: String,
    images: Option<Arc<Images>>,
    next: AtomicU64,
}

enum Order {
    Create { id: u64, limits: Limits, layers: Vec<String>, made: oneshot::Sender<Result<Made, String>> },
    Discard { id: u64, gone: Gone },
}

/// Who waits for the end of a sandbox, and what is held until then.
#[derive(Default)]
struct Gone {
    tell: Option<oneshot::Sender<()>>,
    _layers: Vec<Arc<HeldLayer>>,
}

/// Descriptors of a new sandbox. Dropped unseen, they end it: the guest's input ends.
struct Made {
    pidfd: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl NamespaceBackend {
    /// Talks to `spawner` from a task of the current tokio runtime. It has no images.
    pub fn new(spawner: Spawner) -> io::Result<Arc<Self>> {
        Self::with_images(spawner, None)
    }

    /// The same with images, whose folder of layers the spawner was started with.
    pub fn with_images(spawner: Spawner, images: Option<Arc<Images>>) -> io::Result<Arc<Self>> {
        rustix::io::ioctl_fionbio(&spawner.socket, true)?;
        let socket = sys::watch(spawner.socket)?;
        let (orders, queue) = mpsc::channel(MAX_WAITING);
        let pid = spawner.pid;
        tokio::spawn(async move {
            talk(socket, queue).await;
            // The socket is closed now, so the spawner ends; nobody else reaps it.
            let reaping = move || rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
            let _ = tokio::task::spawn_blocking(reaping).await;
        });
        let cgroups = spawner
            .layers
            .iter()
            .any(|report| report.layer == protocol::frame::Layer::Cgroup && report.enforced);
        Ok(Arc::new(Self {
            orders,
            layers: spawner.layers,
            cgroups,
            path: spawner.path,
            images,
            next: AtomicU64::new(1),
        }))
    }
}

impl NamespaceBackend {
    fn images(&self) -> Result<&Images, SandboxError> {
        self.images.as_deref().ok_or_else(|| SandboxError::Unavailable {
            backend: NAME,
            reason: "this worker has no image cache".to_owned(),
            remedy: "leave `image` out to use the worker's own toolchain, or use another sandbox backend"
                .to_owned(),
        })
    }
}

#[async_trait]
impl Backend for NamespaceBackend {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            images: self.images.is_some(),
            limits: self.cgroups,
            process_limit: self.cgroups,
            idle_bytes: IDLE_BYTES,
            create_ms: 2,
            path: self.path.clone(),
            ..Capabilities::default()
        }
    }

    /// Makes one: the surest way to know whether the spawner is still there.
    async fn check(&self) -> Result<(), SandboxError> {
        self.create(&Template::default()).await?.discard().await
    }

    async fn pull(
        &self,
        image: &str,
        tell: &(dyn Fn(String) + Send + Sync),
    ) -> Result<Option<Image>, SandboxError> {
        self.images()?.pull(image, tell).await.map(Some).map_err(|error| error.of_backend())
    }

    async fn create(&self, template: &Template) -> Result<Box<dyn Sandbox>, SandboxError> {
        let held = match &template.image {
            Some(image) => self.images()?.layers(image).await.map_err(|error| error.of_backend())?,
            None => Vec::new(),
        };
        let layers = held.iter().rev().map(|layer| layer.name().to_owned()).collect();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let limits = Limits {
            cpu_millis: template.limits.cpu_millis,
            memory_bytes: template.limits.memory_bytes,
            disk_bytes: template.limits.disk_bytes,
            processes: template.limits.processes,
        };
        let (tell, made) = oneshot::channel();
        self.orders
            .send(Order::Create { id, limits, layers, made: tell })
            .await
            .map_err(|_| spawner_gone())?;
        let made = made.await.map_err(|_| spawner_gone())?.map_err(SandboxError::Create)?;
        let mut sandbox = NamespaceSandbox {
            id: SandboxId::new(format!("{NAME}-{id}")),
            number: id,
            orders: self.orders.clone(),
            layers: self.layers.clone(),
            pidfd: None,
            channel: None,
            stderr: None,
            held,
            discarded: false,
        };
        let failed = |error: io::Error| SandboxError::Create(error.to_string());
        let reader = pipe::Receiver::from_owned_fd(made.stdout).map_err(failed)?;
        let writer = pipe::Sender::from_owned_fd(made.stdin).map_err(failed)?;
        sandbox.channel = Some(Channel { reader: Box::pin(reader), writer: Box::pin(writer) });
        sandbox.stderr = Some(made.stderr);
        sandbox.pidfd = Some(made.pidfd);
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

struct NamespaceSandbox {
    id: SandboxId,
    number: u64,
    orders: mpsc::Sender<Order>,
    layers: Vec<LayerReport>,
    pidfd: Option<OwnedFd>,
    channel: Option<Channel>,
    stderr: Option<OwnedFd>,
    /// Layers of its image, which stay on the disk as long as it is there.
    held: Vec<Arc<HeldLayer>>,
    discarded: bool,
}

#[async_trait]
impl Sandbox for NamespaceSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn layers(&self) -> Vec<LayerReport> {
        self.layers.clone()
    }

    fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }

    async fn obituary(&mut self) -> Option<String> {
        let stderr = pipe::Receiver::from_owned_fd(self.stderr.take()?).ok()?;
        let mut words = Vec::new();
        stderr.take(MAX_OBITUARY_BYTES).read_to_end(&mut words).await.ok()?;
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        (!words.is_empty()).then_some(words)
    }

    /// Kills the first process of its pid namespace: the kernel ends all others before that one has ended.
    async fn kill(&mut self) -> Result<bool, SandboxError> {
        let Some(pidfd) = self.pidfd.take() else { return Ok(false) };
        let failed = |error: io::Error| SandboxError::Create(error.to_string());
        // It may be dead already.
        let _ = rustix::process::pidfd_send_signal(&pidfd, rustix::process::Signal::KILL);
        let dead = sys::watch(pidfd).map_err(failed)?;
        let died = tokio::time::timeout(KILL_LIMIT, dead.readable()).await;
        Ok(died.is_ok_and(|died| died.is_ok()))
    }

    async fn discard(mut self: Box<Self>) -> Result<(), SandboxError> {
        let (tell, gone) = oneshot::channel();
        let layers = std::mem::take(&mut self.held);
        let order = Order::Discard { id: self.number, gone: Gone { tell: Some(tell), _layers: layers } };
        self.discarded = true;
        self.orders.send(order).await.map_err(|_| spawner_gone())?;
        gone.await.map_err(|_| spawner_gone())
    }
}

impl Drop for NamespaceSandbox {
    fn drop(&mut self) {
        if !self.discarded {
            // If too many orders wait, the end of the guest's input, which is closed here too, ends it as well.
            let gone = Gone { tell: None, _layers: std::mem::take(&mut self.held) };
            let _ = self.orders.try_send(Order::Discard { id: self.number, gone });
        }
    }
}

fn spawner_gone() -> SandboxError {
    SandboxError::Gone { backend: NAME, reason: "its spawner has ended".to_owned() }
}

/// Sends orders to the spawner and its answers to who waits for them; the only user of the socket.
async fn talk(socket: AsyncFd<OwnedFd>, mut orders: mpsc::Receiver<Order>) {
    let mut creating: HashMap<u64, oneshot::Sender<Result<Made, String>>> = HashMap::new();
    let mut discarding: HashMap<u64, Gone> = HashMap::new();
    // Each request has one answer.
    let mut unanswered = 0_usize;
    loop {
        tokio::select! {
            received = socket.async_io(Interest::READABLE, |socket| wire::receive::<Reply>(socket.as_fd())) => {
                let Ok(Some((reply, descriptors))) = received else { return };
                unanswered = unanswered.saturating_sub(1);
                match reply {
                    Reply::Created { id } => {
                        let made = into_made(descriptors).ok_or_else(|| "descriptors are missing".to_owned());
                        if let Some(waiting) = creating.remove(&id)
                            && waiting.send(made).is_err()
                        {
                            // Whoever asked for it is gone.
                            unanswered += 1;
                            if !ask(&socket, &Request::Discard { id }).await {
                                return;
                            }
                        }
                    }
                    Reply::Failed { id, message } => {
                        if let Some(waiting) = creating.remove(&id) {
                            let _ = waiting.send(Err(message));
                        }
                    }
                    Reply::Discarded { id } => {
                        if let Some(Gone { tell: Some(waiting), .. }) = discarding.remove(&id) {
                            let _ = waiting.send(());
                        }
                    }
                    Reply::Ready { .. } | Reply::Unavailable { .. } => {}
                }
            }
            order = orders.recv(), if unanswered < MAX_UNANSWERED => {
                let request = match order {
                    None => return,
                    Some(Order::Create { id, limits, layers, made }) => {
                        creating.insert(id, made);
                        Request::Create { id, limits, layers }
                    }
                    Some(Order::Discard { id, gone }) => {
                        discarding.insert(id, gone);
                        Request::Discard { id }
                    }
                };
                unanswered += 1;
                if !ask(&socket, &request).await {
                    return;
                }
            }
        }
    }
}

/// Sends a request; `false` where the spawner is gone.
async fn ask(socket: &AsyncFd<OwnedFd>, request: &Request) -> bool {
    socket.async_io(Interest::WRITABLE, |socket| wire::send(socket.as_fd(), request, &[])).await.is_ok()
}

fn into_made(descriptors: Vec<OwnedFd>) -> Option<Made> {
    let [pidfd, stdin, stdout, stderr] = <[OwnedFd; 4]>::try_from(descriptors).ok()?;
    Some(Made { pidfd, stdin, stdout, stderr })
}
