//! What the worker's side and the spawner say to each other: one message a packet, descriptors beside it.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::frame::LayerReport;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of a message, at most.
const MAX_MESSAGE_BYTES: usize = 16 * 1024;
/// Descriptors beside a message, at most.
const MAX_DESCRIPTORS: usize = 4;

/// From the worker's side.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Make a sandbox.
    Create {
        /// Chosen by the worker's side, never used twice.
        id: u64,
        /// Its limits.
        limits: Limits,
        /// Folders of an image's layers, the topmost first; none for the host's toolchain.
        layers: Vec<String>,
    },
    /// Destroy a sandbox, dead or alive.
    Discard {
        /// The sandbox.
        id: u64,
    },
}

/// Limits of a sandbox.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Limits {
    pub(crate) cpu_millis: u32,
    pub(crate) memory_bytes: u64,
    pub(crate) disk_bytes: u64,
    pub(crate) processes: u32,
}

/// From the spawner.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Reply {
    /// First message: the spawner is ready.
    Ready {
        /// Layers that are the same for all its sandboxes.
        layers: Vec<LayerReport>,
    },
    /// First message: this machine cannot make such sandboxes.
    Unavailable {
        /// What is missing.
        reason: String,
        /// What the operator can do.
        remedy: String,
    },
    /// A sandbox is being made. Beside it: its pidfd, its guest's standard input, output, and error.
    Created {
        /// The sandbox.
        id: u64,
    },
    /// A sandbox could not be made.
    Failed {
        /// The sandbox.
        id: u64,
        /// Why.
        message: String,
    },
    /// Nothing of the sandbox is left.
    Discarded {
        /// The sandbox.
        id: u64,
    },
}

/// Sends one message with descriptors beside it.
pub(crate) fn send<M: Serialize>(
    socket: BorrowedFd<'_>,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::Error::other("too many descriptors"));
    }
    rustix::net::sendmsg(socket, &[IoSlice::new(&body)], &mut ancillary, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives one message; `None` where the other side is gone.
pub(crate) fn receive<M: DeserializeOwned>(socket: BorrowedFd<'_>) -> io::Result<Option<(M, Vec<OwnedFd>)>> {
    let mut body = [0; MAX_MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut body)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    )?;
    if received.bytes == 0 {
        return Ok(None);
    }
    let descriptors = ancillary
        .drain()
        .filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        })
        .flatten()
        .collect();
    let message = postcard::from_bytes(&body[..received.bytes]).map_err(io::Error::other)?;
    Ok(Some((message, descriptors)))
}
