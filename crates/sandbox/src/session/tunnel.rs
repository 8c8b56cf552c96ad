//! Tunnels of a running step: each is a task that dials a checked address and pumps bytes under credits.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use protocol::frame::{MAX_DATA_BYTES, MAX_TUNNELS, STREAM_WINDOW_BYTES, ToGuest};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Notify, mpsc};
use tokio::task::{AbortHandle, JoinSet};

use super::collect::clean;
use super::credit::Credit;
use super::events::MAX_DENIED_HOST_BYTES;
use super::wire::Outbox;
use crate::SandboxError;
use crate::egress::{Denial, DenialReason, Egress};

/// Bytes of all tunnels of one step that may wait for slow destinations; then the guest is not listened to.
const MAX_WAITING_BYTES: u64 = 16 << 20;
/// What a waiting frame costs beside its data, bytes.
const FRAME_COST_BYTES: u64 = 64;
/// Bytes passed on after which the guest is granted more.
const GRANT_BYTES: u32 = STREAM_WINDOW_BYTES / 4;

/// All tunnels of one step. Dropping it closes them.
pub(super) struct Tunnels {
    egress: Egress,
    outbox: Outbox,
    open: HashMap<u32, Tunnel>,
    tasks: JoinSet<(u32, Option<Denial>)>,
    waiting: Arc<Waiting>,
}

/// The side of a tunnel that hears the guest.
struct Tunnel {
    from_guest: mpsc::UnboundedSender<Vec<u8>>,
    /// What the guest may still send.
    allowance: Arc<AtomicU64>,
    /// What may still be sent to the guest.
    credit: Credit,
    task: AbortHandle,
}

/// The side of a tunnel that talks to the destination.
struct Pump {
    tunnel: u32,
    outbox: Outbox,
    from_guest: mpsc::UnboundedReceiver<Vec<u8>>,
    allowance: Arc<AtomicU64>,
    credit: Credit,
    waiting: Arc<Waiting>,
}

/// Counts what waits in all queues of a step.
#[derive(Default)]
struct Waiting {
    bytes: AtomicU64,
    less: Notify,
}

impl Waiting {
    fn add(&self, data: &[u8]) {
        self.bytes.fetch_add(data.len() as u64 + FRAME_COST_BYTES, Ordering::Relaxed);
    }

    fn remove(&self, data: &[u8]) {
        self.bytes.fetch_sub(data.len() as u64 + FRAME_COST_BYTES, Ordering::Relaxed);
        self.less.notify_one();
    }
}

impl Tunnels {
    pub(super) fn new(egress: Egress, outbox: Outbox) -> Self {
        Self { egress, outbox, open: HashMap::new(), tasks: JoinSet::new(), waiting: Arc::default() }
    }

    /// Whether too much waits for destinations.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.bytes.load(Ordering::Relaxed) > MAX_WAITING_BYTES
    }

    /// Waits until less waits than before.
    pub(super) fn drained(&self) -> impl Future<Output = ()> + 'static {
        let waiting = Arc::clone(&self.waiting);
        async move { waiting.less.notified().await }
    }

    /// The guest asks for a destination.
    pub(super) fn open(&mut self, tunnel: u32, host: String, port: u16) -> Result<(), SandboxError> {
        if self.open.contains_key(&tunnel) {
            return Err(SandboxError::Protocol("a tunnel's number is used twice".to_owned()));
        }
        if self.open.len() >= MAX_TUNNELS {
            return Err(SandboxError::Protocol("more tunnels than it may open".to_owned()));
        }
        let (to_pump, from_guest) = mpsc::unbounded_channel();
        let allowance = Arc::new(AtomicU64::new(STREAM_WINDOW_BYTES.into()));
        let credit = Credit::new(STREAM_WINDOW_BYTES);
        let pump = Pump {
            tunnel,
            outbox: self.outbox.clone(),
            from_guest,
            allowance: Arc::clone(&allowance),
            credit: credit.clone(),
            waiting: Arc::clone(&self.waiting),
        };
        let egress = self.egress.clone();
        let task = self.tasks.spawn(async move { (tunnel, pump.serve(egress, host, port).await) });
        self.open.insert(tunnel, Tunnel { from_guest: to_pump, allowance, credit, task });
        Ok(())
    }

    /// Bytes of the guest for a destination; of a tunnel that is gone they are ignored, since frames may cross.
    pub(super) fn data(&mut self, tunnel: u32, data: Vec<u8>) -> Result<(), SandboxError> {
        let Some(open) = self.open.get(&tunnel) else { return Ok(()) };
        let size = data.len() as u64;
        let within =
            open.allowance.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(size));
        if within.is_err() || data.len() > MAX_DATA_BYTES {
            return Err(SandboxError::Protocol("more tunnel data than it has credit for".to_owned()));
        }
        self.waiting.add(&data);
        if let Err(unsent) = open.from_guest.send(data) {
            self.waiting.remove(&unsent.0);
        }
        Ok(())
    }

    /// The guest allows more bytes.
    pub(super) fn credit(&self, tunnel: u32, bytes: u32) {
        if let Some(open) = self.open.get(&tunnel) {
            open.credit.grant(bytes);
        }
    }

    /// The tunnel is gone on the guest's side.
    pub(super) fn close(&mut self, tunnel: u32) {
        if let Some(open) = self.open.remove(&tunnel) {
            open.task.abort();
        }
    }

    /// Waits for a tunnel's end that has something to tell; `None` while there are no tunnels.
    pub(super) async fn ended(&mut self) -> Option<Denial> {
        loop {
            // An aborted task has been removed from `open` already.
            let Ok((tunnel, denial)) = self.tasks.join_next().await? else { continue };
            self.open.remove(&tunnel);
            if denial.is_some() {
                return denial;
            }
        }
    }
}

impl Pump {
    async fn serve(mut self, egress: Egress, host: String, port: u16) -> Option<Denial> {
        let tunnel = self.tunnel;
        let stream = match egress.connect(&host, port).await {
            Ok(stream) => stream,
            Err(reason) => {
                let _ = self.outbox.data(ToGuest::TunnelRefused { tunnel }).await;
                return Some(denial(&host, port, reason));
            }
        };
        let (reader, writer) = stream.into_split();
        let outbox = self.outbox.clone();
        let credit = self.credit.clone();
        let pumped = async {
            outbox.data(ToGuest::TunnelOpened { tunnel }).await?;
            tokio::try_join!(
                to_destination(&mut self, writer),
                from_destination(tunnel, reader, &outbox, &credit)
            )
        };
        if pumped.await.is_err() {
            let _ = outbox.data(ToGuest::TunnelClose { tunnel }).await;
        }
        None
    }
}

impl Drop for Pump {
    fn drop(&mut self) {
        self.from_guest.close();
        while let Ok(data) = self.from_guest.try_recv() {
            self.waiting.remove(&data);
        }
    }
}

async fn to_destination(pump: &mut Pump, mut writer: OwnedWriteHalf) -> Result<(), SandboxError> {
    let mut passed = 0_u32;
    while let Some(data) = pump.from_guest.recv().await {
        pump.waiting.remove(&data);
        if data.is_empty() {
            return writer.shutdown().await.map_err(gone);
        }
        writer.write_all(&data).await.map_err(gone)?;
        passed += u32::try_from(data.len()).expect("a data frame is short");
        if passed >= GRANT_BYTES {
            pump.allowance.fetch_add(passed.into(), Ordering::Relaxed);
            let frame = ToGuest::TunnelCredit { tunnel: pump.tunnel, bytes: std::mem::take(&mut passed) };
            pump.outbox.data(frame).await?;
        }
    }
    Ok(())
}

async fn from_destination(
    tunnel: u32,
    mut reader: OwnedReadHalf,
    outbox: &Outbox,
    credit: &Credit,
) -> Result<(), SandboxError> {
    let mut buffer = vec![0; MAX_DATA_BYTES];
    loop {
        // Wait for bytes before taking credit, so that an idle tunnel holds none of it back.
        reader.readable().await.map_err(gone)?;
        let most = credit.take(MAX_DATA_BYTES).await;
        let size = reader.read(&mut buffer[..most]).await.map_err(gone)?;
        credit.give_back(most - size);
        outbox.data(ToGuest::TunnelData { tunnel, data: buffer[..size].to_vec() }).await?;
        if size == 0 {
            return Ok(());
        }
    }
}

fn gone(error: std::io::Error) -> SandboxError {
    SandboxError::Ended(Some(error.to_string()))
}

fn denial(host: &str, port: u16, reason: DenialReason) -> Denial {
    Denial { host: clean(host, MAX_DENIED_HOST_BYTES), port, reason }
}
