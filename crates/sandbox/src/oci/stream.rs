//! From the network's side to the thread that unpacks: bytes in order, and an end that cannot be mistaken.

use std::io::{self, Read};

use bytes::{Buf, Bytes};
use tokio::sync::mpsc;

use super::limits::CHUNKS;

/// What is sent: bytes, or an empty chunk for the end. A channel that closes without it was broken off.
pub(super) type Feed = mpsc::Sender<Bytes>;

/// The reading end, for a thread that may block.
pub(super) struct Chunks {
    receiver: mpsc::Receiver<Bytes>,
    current: Bytes,
    ended: bool,
}

/// Both ends.
pub(super) fn channel() -> (Feed, Chunks) {
    let (feed, receiver) = mpsc::channel(CHUNKS);
    (feed, Chunks { receiver, current: Bytes::new(), ended: false })
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.current.is_empty() && !self.ended {
            self.current = self
                .receiver
                .blocking_recv()
                .ok_or_else(|| io::Error::new(io::ErrorKind::ConnectionAborted, "the pull was broken off"))?;
            self.ended = self.current.is_empty();
        }
        let bytes = self.current.len().min(buffer.len());
        self.current.copy_to_slice(&mut buffer[..bytes]);
        Ok(bytes)
    }
}
