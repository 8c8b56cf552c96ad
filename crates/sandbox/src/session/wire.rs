//! Frames over a channel: a reader that trusts nothing, and a writer that never lets bulk data delay control.

use std::pin::Pin;

use protocol::frame::codec::{Decoder, encode};
use protocol::frame::{FromGuest, ToGuest};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::SandboxError;

/// Bytes read from a channel at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes of frames written together, about.
const WRITE_BATCH_BYTES: usize = 128 * 1024;
/// Short frames that may wait for a guest that does not read; more is a breach of the protocol.
const CONTROL_FRAMES: usize = 4096;
/// Data frames that may wait for a guest that does not read; their senders wait.
const DATA_FRAMES: usize = 8;

/// Reads frames; holds at most one frame and one read beyond it.
pub(super) struct FrameReader {
    channel: Pin<Box<dyn AsyncRead + Send>>,
    decoder: Decoder,
    /// Scratch for one read; given back while a sandbox is idle.
    scratch: Vec<u8>,
}

impl FrameReader {
    pub(super) fn new(channel: Pin<Box<dyn AsyncRead + Send>>) -> Self {
        Self { channel, decoder: Decoder::new(), scratch: Vec::new() }
    }

    /// The next frame; `None` where the channel ended between two frames. Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Result<Option<FromGuest>, SandboxError> {
        loop {
            if let Some(frame) =
                self.decoder.take().map_err(|error| SandboxError::Protocol(error.to_string()))?
            {
                return Ok(Some(frame));
            }
            self.scratch.resize(READ_BYTES, 0);
            match self.channel.read(&mut self.scratch).await {
                Ok(0) if self.decoder.at_boundary() => return Ok(None),
                Ok(0) => {
                    return Err(SandboxError::Ended(Some("the channel ended within a frame".to_owned())));
                }
                Ok(bytes) => self.decoder.feed(&self.scratch[..bytes]),
                Err(error) => return Err(SandboxError::Ended(Some(error.to_string()))),
            }
        }
    }

    /// Waits until the guest says anything or ends; a guest that awaits its step does neither.
    pub(super) async fn silence(&mut self) -> SandboxError {
        self.scratch = Vec::new();
        match self.next().await {
            Ok(Some(_)) => SandboxError::Protocol("a frame before the step was started".to_owned()),
            Ok(None) => SandboxError::Ended(None),
            Err(error) => error,
        }
    }
}

/// Where frames for the guest go; a task of its own writes them.
#[derive(Clone)]
pub(super) struct Outbox {
    control: mpsc::Sender<ToGuest>,
    data: mpsc::Sender<ToGuest>,
}

impl Outbox {
    /// Starts the task that writes to `channel`; it ends with the last outbox, or where the channel does.
    pub(super) fn new(channel: Pin<Box<dyn AsyncWrite + Send>>) -> (Self, JoinHandle<()>) {
        let (control, controls) = mpsc::channel(CONTROL_FRAMES);
        let (data, datas) = mpsc::channel(DATA_FRAMES);
        (Self { control, data }, tokio::spawn(write_frames(channel, controls, datas)))
    }

    /// A short frame, which overtakes data.
    pub(super) fn control(&self, frame: ToGuest) -> Result<(), SandboxError> {
        self.control.try_send(frame).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                SandboxError::Protocol("it does not read its channel".to_owned())
            }
            mpsc::error::TrySendError::Closed(_) => SandboxError::Ended(None),
        })
    }

    /// A frame in order with other data; waits while the guest does not read.
    pub(super) async fn data(&self, frame: ToGuest) -> Result<(), SandboxError> {
        self.data.send(frame).await.map_err(|_| SandboxError::Ended(None))
    }
}

async fn write_frames(
    mut channel: Pin<Box<dyn AsyncWrite + Send>>,
    mut controls: mpsc::Receiver<ToGuest>,
    mut datas: mpsc::Receiver<ToGuest>,
) {
    let mut batch = Vec::new();
    loop {
        let first = tokio::select! {
            biased;
            Some(frame) = controls.recv() => frame,
            Some(frame) = datas.recv() => frame,
            else => return,
        };
        let mut next = Some(first);
        while let Some(frame) = next {
            if let Err(error) = encode(&frame, &mut batch) {
                tracing::error!(%error, "a frame for the guest is too long");
                return;
            }
            next = match batch.len() < WRITE_BATCH_BYTES {
                true => controls.try_recv().or_else(|_| datas.try_recv()).ok(),
                false => None,
            };
        }
        if channel.write_all(&batch).await.is_err() || channel.flush().await.is_err() {
            return;
        }
        batch.clear();
    }
}
