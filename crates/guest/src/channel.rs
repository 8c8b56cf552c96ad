//! The channel to the worker: frames in, frames out, neither blocking.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use protocol::frame::codec::{self, CodecError, Decoder};
use protocol::frame::{FromGuest, MAX_DATA_BYTES, ToGuest};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::OFlags;
use rustix::io::Errno;
use seal::channel::{Opener, Sealer};

/// With so much waiting to be written, nothing more is read from the step or its connections.
const MOST_WAITING_BYTES: usize = 4 * MAX_DATA_BYTES;

/// The worker's end is gone: everything in the sandbox ends.
#[derive(Debug)]
pub(crate) struct Gone;

/// Frames to and from the worker.
pub(crate) struct Channel {
    input: OwnedFd,
    output: OwnedFd,
    decoder: Decoder,
    waiting: Vec<u8>,
    /// Bytes of `waiting` that have been written.
    written: usize,
    buffer: Vec<u8>,
    /// Where the channel crosses a network: what turns frames into records and back.
    records: Option<Records>,
}

struct Records {
    sealer: Sealer,
    opener: Opener,
    /// Plaintext on its way.
    plain: Vec<u8>,
}

impl Channel {
    /// A channel across a network, where each frame travels in sealed records.
    pub(crate) fn sealed(
        input: OwnedFd,
        output: OwnedFd,
        sealer: Sealer,
        opener: Opener,
    ) -> io::Result<Self> {
        let records = Some(Records { sealer, opener, plain: Vec::new() });
        Ok(Channel { records, ..Channel::new(input, output)? })
    }

    pub(crate) fn new(input: OwnedFd, output: OwnedFd) -> io::Result<Self> {
        for fd in [&input, &output] {
            let flags = rustix::fs::fcntl_getfl(fd)?;
            rustix::fs::fcntl_setfl(fd, flags | OFlags::NONBLOCK)?;
        }
        Ok(Channel {
            input,
            output,
            decoder: Decoder::new(),
            waiting: Vec::new(),
            written: 0,
            // Allocated as zeroes: it takes memory once it is used.
            buffer: vec![0; MAX_DATA_BYTES],
            records: None,
        })
    }

    pub(crate) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    pub(crate) fn output(&self) -> BorrowedFd<'_> {
        self.output.as_fd()
    }

    /// Puts a frame in line. The guest keeps data parts below [`MAX_DATA_BYTES`], so a frame always fits.
    pub(crate) fn send(&mut self, frame: &FromGuest) {
        let encode = |out: &mut Vec<u8>| {
            codec::encode(frame, out).expect("the guest's frames are below the limit");
        };
        match &mut self.records {
            None => encode(&mut self.waiting),
            Some(records) => {
                records.plain.clear();
                encode(&mut records.plain);
                records.sealer.seal(&records.plain, &mut self.waiting);
            }
        }
    }

    /// Whether a source of data may be read.
    pub(crate) fn has_room(&self) -> bool {
        self.waiting.len() - self.written < MOST_WAITING_BYTES
    }

    /// Whether there is something to be written.
    pub(crate) fn is_waiting(&self) -> bool {
        self.written < self.waiting.len()
    }

    /// Writes as much as the worker takes now.
    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        while self.is_waiting() {
            match rustix::io::write(&self.output, &self.waiting[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => return Err(Gone),
            }
        }
        if !self.is_waiting() {
            self.waiting.clear();
            self.written = 0;
        } else if self.written > MOST_WAITING_BYTES {
            self.waiting.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Puts a frame in line and waits until there is room for the next: while nothing else is to be done.
    pub(crate) fn send_patiently(&mut self, frame: &FromGuest) -> Result<(), Gone> {
        self.send(frame);
        self.flush()?;
        while !self.has_room() {
            self.await_output()?;
        }
        Ok(())
    }

    /// Waits until everything is written.
    pub(crate) fn flush_patiently(&mut self) -> Result<(), Gone> {
        self.flush()?;
        while self.is_waiting() {
            self.await_output()?;
        }
        Ok(())
    }

    fn await_output(&mut self) -> Result<(), Gone> {
        let mut fds = [PollFd::new(&self.output, PollFlags::OUT)];
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => self.flush(),
            Err(_) => Err(Gone),
        }
    }

    /// Reads what the worker has sent, once; take all messages before the next read.
    pub(crate) fn receive(&mut self) -> Result<(), Gone> {
        match rustix::io::read(&self.input, &mut self.buffer[..]) {
            Ok(0) => Err(Gone),
            Ok(bytes) => {
                let Some(records) = &mut self.records else {
                    self.decoder.feed(&self.buffer[..bytes]);
                    return Ok(());
                };
                records.plain.clear();
                // Whoever changed a record is not the worker: for the guest, the worker is gone.
                records.opener.open(&self.buffer[..bytes], &mut records.plain).map_err(|_| Gone)?;
                self.decoder.feed(&records.plain);
                Ok(())
            }
            Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(_) => Err(Gone),
        }
    }

    /// The next message that has come whole.
    pub(crate) fn take(&mut self) -> Result<Option<ToGuest>, CodecError> {
        self.decoder.take()
    }
}
