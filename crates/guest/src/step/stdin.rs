//! Standard input of the step: what the worker sent within its window, written as the step reads.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::frame::{FromGuest, STREAM_WINDOW_BYTES};
use rustix::io::Errno;

use crate::channel::Channel;

/// What a terminal takes for end of input (Ctrl-D), in its usual setting.
const TERMINAL_END: u8 = 4;

pub(super) struct Stdin {
    /// The writing end; `None` once it is closed.
    sink: Option<OwnedFd>,
    terminal: bool,
    waiting: Vec<u8>,
    ended: bool,
}

impl Stdin {
    /// `sink` must not block.
    pub(super) fn new(sink: OwnedFd, terminal: bool) -> Self {
        Stdin { sink: Some(sink), terminal, waiting: Vec::new(), ended: false }
    }

    /// Takes data of the worker; empty means end of input. `false` if the worker overran its window.
    pub(super) fn take(&mut self, data: &[u8], channel: &mut Channel) -> bool {
        if data.is_empty() && !self.ended {
            self.ended = true;
            if self.terminal {
                self.waiting.push(TERMINAL_END);
            }
        } else if !self.ended {
            self.waiting.extend_from_slice(data);
        }
        let within = self.waiting.len() <= STREAM_WINDOW_BYTES as usize + 1;
        self.write(channel);
        within
    }

    /// The descriptor to wait for, if there is something to write.
    pub(super) fn wanted(&self) -> Option<BorrowedFd<'_>> {
        self.sink.as_ref().filter(|_| !self.waiting.is_empty()).map(AsFd::as_fd)
    }

    /// Writes what the step takes now and grants the worker as much again.
    pub(super) fn write(&mut self, channel: &mut Channel) {
        let mut written = 0;
        while let Some(sink) = &self.sink
            && written < self.waiting.len()
        {
            match rustix::io::write(sink, &self.waiting[written..]) {
                Ok(bytes) => written += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // The step reads no more; what comes is taken and forgotten.
                Err(_) => self.sink = None,
            }
        }
        if self.sink.is_none() {
            written = self.waiting.len();
        }
        self.waiting.drain(..written);
        if written > 0 && !self.ended {
            channel.send(&FromGuest::StdinCredit { bytes: u32::try_from(written).unwrap_or(u32::MAX) });
        }
        if self.ended && self.waiting.is_empty() && !self.terminal {
            self.sink = None;
        }
    }
}
