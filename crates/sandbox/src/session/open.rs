//! A session: a sandbox whose guest has said hello, from then until it is discarded.

use std::time::Duration;

use bytes::Bytes;
use protocol::frame::{FRAME_VERSION, FromGuest, Layer, LayerReport, MAX_DATA_BYTES, ToGuest};

use super::collect::is_plain_path;
use super::wire::{FrameReader, Outbox};
use crate::{Sandbox, SandboxError, SandboxId, merge_layers, missing_layers};

/// The longest a guest may take to its first frame where the caller has no limit of its own.
const READY_DEADLINE: Duration = Duration::from_secs(120);

/// A file for /workspace.
pub struct PutFile {
    /// Path below /workspace, `/`-separated, without `..`.
    pub path: String,
    /// Permission bits, such as 0o644.
    pub mode: u32,
    /// Content.
    pub content: Bytes,
}

/// One sandbox that serves one step: put files, run once, collect files, discard.
pub struct Session {
    pub(super) sandbox: Box<dyn Sandbox>,
    pub(super) frames: FrameReader,
    pub(super) outbox: Outbox,
    pub(super) state: State,
    public_key: [u8; 32],
    layers: Vec<LayerReport>,
    warm: bool,
}

/// How far the one step has come.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing was started.
    Ready,
    /// `run` was called and has not come to a regular end.
    Running,
    /// The step has exited; files may be collected.
    Exited,
    /// Files were collected, or the guest broke off.
    Over,
}

impl Session {
    /// Waits for the guest of a new sandbox. Refuses where one of `required` does not hold; the sandbox is then destroyed.
    pub async fn open(sandbox: Box<dyn Sandbox>, required: &[Layer]) -> Result<Self, SandboxError> {
        Self::open_within(sandbox, required, READY_DEADLINE).await
    }

    /// As [`Session::open`], with a limit of time.
    pub async fn open_within(
        mut sandbox: Box<dyn Sandbox>,
        required: &[Layer],
        limit: Duration,
    ) -> Result<Self, SandboxError> {
        let channel = sandbox.take_channel().ok_or(SandboxError::Order("opens a sandbox once"))?;
        let mut frames = FrameReader::new(channel.reader);
        let first = tokio::time::timeout(limit, frames.next())
            .await
            .map_err(|_| SandboxError::NotReady(sandbox.id().clone()))?;
        let (version, public_key, found) = match first {
            Ok(Some(FromGuest::Hello { version, public_key, layers })) => (version, public_key, layers),
            Ok(Some(FromGuest::Failed { kind, message })) => {
                return Err(SandboxError::Refused { kind, message });
            }
            Ok(Some(_)) => return Err(SandboxError::Protocol("its first frame is not Hello".to_owned())),
            Ok(None) | Err(SandboxError::Ended(_)) => {
                return Err(SandboxError::Ended(sandbox.obituary().await));
            }
            Err(error) => return Err(error),
        };
        if version != FRAME_VERSION {
            return Err(SandboxError::GuestVersion { found: version });
        }
        let layers = merge_layers(&sandbox.layers(), &found);
        let missing = missing_layers(required, &layers);
        if !missing.is_empty() {
            return Err(SandboxError::LayersAbsent(missing));
        }
        let (outbox, _) = Outbox::new(channel.writer);
        Ok(Self { sandbox, frames, outbox, state: State::Ready, public_key, layers, warm: false })
    }

    /// Names the sandbox in logs.
    pub fn id(&self) -> &SandboxId {
        self.sandbox.id()
    }

    /// The guest's X25519 public key, to which an identity is sealed.
    pub fn guest_public_key(&self) -> &[u8; 32] {
        &self.public_key
    }

    /// Each layer of isolation, as made and as found from inside.
    pub fn layers(&self) -> &[LayerReport] {
        &self.layers
    }

    /// Whether the sandbox waited in a pool.
    pub fn warm(&self) -> bool {
        self.warm
    }

    pub(crate) fn mark_warm(&mut self) {
        self.warm = true;
    }

    /// Waits until the guest dies or breaks its silence before the step; never returns while the sandbox is well.
    pub(crate) async fn watch(&mut self) -> SandboxError {
        self.frames.silence().await
    }

    /// Puts a file below /workspace before the step runs. What goes wrong with it is told by [`Session::run`].
    pub async fn put_file(&mut self, file: PutFile) -> Result<(), SandboxError> {
        if self.state != State::Ready {
            return Err(SandboxError::Order("takes files before it runs"));
        }
        if !is_plain_path(&file.path) {
            return Err(SandboxError::File(format!("`{}` is not a plain path below /workspace", file.path)));
        }
        self.outbox.data(ToGuest::PutFile { path: file.path, mode: file.mode }).await?;
        let mut content = file.content;
        loop {
            let piece = content.split_to(content.len().min(MAX_DATA_BYTES));
            let last = content.is_empty();
            self.outbox.data(ToGuest::PutData { data: piece.into(), last }).await?;
            if last {
                return Ok(());
            }
        }
    }

    /// Kills every process of the sandbox, where that is faster than to discard it: see [`Sandbox::kill`].
    pub(crate) async fn kill(&mut self) -> Result<bool, SandboxError> {
        self.sandbox.kill().await
    }

    /// Why something in the sandbox was killed that neither the step nor the worker has killed, if that is known.
    pub async fn cause_of_death(&mut self) -> Option<String> {
        self.sandbox.cause_of_death().await
    }

    /// Destroys the sandbox and waits until nothing of it is left.
    pub async fn discard(self) -> Result<(), SandboxError> {
        let Self { sandbox, frames, outbox, .. } = self;
        drop((frames, outbox));
        sandbox.discard().await
    }
}
