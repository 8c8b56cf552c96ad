//! Makes fake sandboxes, and crashes them when told to.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use protocol::frame::LayerReport;
use tokio::task::AbortHandle;

use super::guest;
use crate::{Backend, Capabilities, Channel, Sandbox, SandboxError, SandboxId, Template};

/// Bytes that the fake channel holds in each direction, as a pipe does.
const CHANNEL_BYTES: usize = 64 * 1024;

/// Makes sandboxes whose guests are tasks. They run a handful of the probe's commands, such as `echo`, `cat`, `sleep`.
#[derive(Default)]
pub struct FakeBackend {
    made: AtomicU64,
    alive: Arc<AtomicU64>,
    guests: Mutex<Vec<AbortHandle>>,
    /// How long making and destroying one takes.
    delay: Duration,
}

impl FakeBackend {
    /// A fake sandbox backend.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// One that takes so long to make a sandbox, and to destroy it, as those with a daemon or a cluster do.
    pub fn slow(delay: Duration) -> Arc<Self> {
        Arc::new(Self { delay, ..Self::default() })
    }

    /// Sandboxes that were made.
    pub fn made(&self) -> u64 {
        self.made.load(Ordering::SeqCst)
    }

    /// Sandboxes that were made and not destroyed.
    pub fn alive(&self) -> u64 {
        self.alive.load(Ordering::SeqCst)
    }

    /// Kills the guests of all sandboxes that exist now.
    pub fn crash_all(&self) {
        for guest in self.guests.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            guest.abort();
        }
    }
}

#[async_trait]
impl Backend for FakeBackend {
    fn name(&self) -> &'static str {
        "fake"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            limits: false,
            tunnel: false,
            terminal: false,
            local: false,
            idle_bytes: 64 << 10,
            create_ms: u32::try_from(self.delay.as_millis()).unwrap_or(u32::MAX).max(1),
            ..Capabilities::default()
        }
    }

    async fn create(&self, _: &Template) -> Result<Box<dyn Sandbox>, SandboxError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        self.alive.fetch_add(1, Ordering::SeqCst);
        let (ours, its) = tokio::io::duplex(CHANNEL_BYTES);
        let guest = tokio::spawn(guest::serve(its)).abort_handle();
        let mut guests = self.guests.lock().unwrap_or_else(PoisonError::into_inner);
        guests.retain(|guest| !guest.is_finished());
        guests.push(guest.clone());
        let (reader, writer) = tokio::io::split(ours);
        Ok(Box::new(FakeSandbox {
            id: SandboxId::new(format!("fake-{number}")),
            channel: Some(Channel { reader: Box::pin(reader), writer: Box::pin(writer) }),
            guest,
            alive: Arc::clone(&self.alive),
            delay: self.delay,
        }))
    }

    async fn layers(&self) -> Result<Vec<LayerReport>, SandboxError> {
        Ok(guest::layers())
    }
}

struct FakeSandbox {
    id: SandboxId,
    channel: Option<Channel>,
    guest: AbortHandle,
    alive: Arc<AtomicU64>,
    delay: Duration,
}

#[async_trait]
impl Sandbox for FakeSandbox {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn layers(&self) -> Vec<LayerReport> {
        Vec::new()
    }

    fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }

    async fn kill(&mut self) -> Result<bool, SandboxError> {
        self.guest.abort();
        Ok(true)
    }

    async fn discard(self: Box<Self>) -> Result<(), SandboxError> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        Ok(())
    }
}

impl Drop for FakeSandbox {
    fn drop(&mut self) {
        self.guest.abort();
        self.alive.fetch_sub(1, Ordering::SeqCst);
    }
}
