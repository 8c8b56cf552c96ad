//! One output stream of the step: read, masked, sent as the worker's credit allows. Without credit nothing is read, so
//! that a step that floods is blocked by its own full pipe.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use protocol::frame::{FromGuest, MAX_DATA_BYTES, STREAM_WINDOW_BYTES, Stream};
use rustix::io::Errno;

use crate::channel::Channel;
use crate::redact::{Patterns, Redactor};

pub(super) struct Output {
    stream: Stream,
    /// The reading end; `None` once it has ended.
    source: Option<OwnedFd>,
    redactor: Redactor,
    /// Masked, to be sent.
    ready: Vec<u8>,
    credit_bytes: u64,
}

impl Output {
    /// `source` must not block.
    pub(super) fn new(stream: Stream, source: OwnedFd, patterns: &Rc<Patterns>) -> Self {
        Output {
            stream,
            source: Some(source),
            redactor: Redactor::new(Rc::clone(patterns)),
            ready: Vec::new(),
            credit_bytes: u64::from(STREAM_WINDOW_BYTES),
        }
    }

    pub(super) fn stream(&self) -> Stream {
        self.stream
    }

    /// The descriptor to wait for, if this stream wants to be read now.
    pub(super) fn wanted(&self, channel: &Channel) -> Option<BorrowedFd<'_>> {
        let wanted = self.ready.is_empty() && self.credit_bytes > 0 && channel.has_room();
        self.source.as_ref().filter(|_| wanted).map(AsFd::as_fd)
    }

    /// The worker takes as many more bytes.
    pub(super) fn grant(&mut self, bytes: u32, channel: &mut Channel) {
        self.credit_bytes = self.credit_bytes.saturating_add(u64::from(bytes));
        self.pump(channel);
    }

    /// Reads once and sends what is decided.
    pub(super) fn read(&mut self, buffer: &mut [u8], channel: &mut Channel) {
        let Some(source) = &self.source else { return };
        match rustix::io::read(source, &mut *buffer) {
            Ok(bytes) if bytes > 0 => self.redactor.push(&buffer[..bytes], &mut self.ready),
            Err(Errno::AGAIN | Errno::INTR) => {}
            // A terminal whose last user is gone answers EIO.
            Ok(_) | Err(_) => self.end(),
        }
        self.pump(channel);
    }

    /// Nothing more is read: the rest that was held back is decided.
    pub(super) fn end(&mut self) {
        if self.source.take().is_some() {
            self.redactor.finish(&mut self.ready);
        }
    }

    /// Sends what is ready as far as credit and room go.
    pub(super) fn pump(&mut self, channel: &mut Channel) {
        let mut sent = 0;
        while sent < self.ready.len() && self.credit_bytes > 0 && channel.has_room() {
            let credit = usize::try_from(self.credit_bytes).unwrap_or(usize::MAX);
            let bytes = (self.ready.len() - sent).min(MAX_DATA_BYTES).min(credit);
            let data = self.ready[sent..sent + bytes].to_vec();
            channel.send(&FromGuest::Output { stream: self.stream, data });
            self.credit_bytes -= bytes as u64;
            sent += bytes;
        }
        self.ready.drain(..sent);
    }

    /// Whether everything was read and sent.
    pub(super) fn is_done(&self) -> bool {
        self.source.is_none() && self.ready.is_empty()
    }
}
