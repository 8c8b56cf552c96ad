//! One connection of the step, carried through the channel.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::time::Duration;

use protocol::frame::{FromGuest, STREAM_WINDOW_BYTES};
use rustix::event::PollFlags;

use crate::channel::Channel;
use crate::interests::{Interests, Source};

/// Whether a tunnel goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// There is more to come.
    GoesOn,
    /// Both directions have ended, or the connection broke.
    Over,
}

/// A connection that the worker carries on.
pub(super) struct Tunnel {
    id: u32,
    connection: TcpStream,
    /// Whether the worker has connected; until then nothing is read.
    open: bool,
    credit_bytes: u64,
    /// From the worker, to be written.
    waiting: Vec<u8>,
    /// The step has sent its last byte.
    read_ended: bool,
    /// The worker has sent its last byte.
    write_ended: bool,
}

impl Tunnel {
    /// `connection` must not block.
    pub(super) fn new(id: u32, connection: TcpStream) -> Self {
        // Without it, small messages of protocols such as PostgreSQL's wait for each other.
        _ = connection.set_nodelay(true);
        Tunnel {
            id,
            connection,
            open: false,
            credit_bytes: u64::from(STREAM_WINDOW_BYTES),
            waiting: Vec::new(),
            read_ended: false,
            write_ended: false,
        }
    }

    pub(super) fn interests<'a>(&'a self, channel: &Channel, interests: &mut Interests<'a>) {
        let mut flags = PollFlags::empty();
        flags
            .set(PollFlags::IN, self.open && !self.read_ended && self.credit_bytes > 0 && channel.has_room());
        flags.set(PollFlags::OUT, !self.waiting.is_empty());
        // Without a wish, an end of the connection would wake for nothing, except before it is open.
        if !flags.is_empty() || !self.open {
            interests.add(Source::Tunnel(self.id), self.connection.as_fd(), flags);
        }
    }

    pub(super) fn opened(&mut self) {
        self.open = true;
    }

    pub(super) fn grant(&mut self, bytes: u32) {
        self.credit_bytes = self.credit_bytes.saturating_add(u64::from(bytes));
    }

    pub(super) fn on_ready(&mut self, flags: PollFlags, buffer: &mut [u8], channel: &mut Channel) -> Next {
        if flags.contains(PollFlags::ERR) || (flags.contains(PollFlags::HUP) && !self.open) {
            return Next::Over;
        }
        if flags.contains(PollFlags::OUT) && self.write(channel).is_err() {
            return Next::Over;
        }
        let readable = self.open && !self.read_ended && self.credit_bytes > 0;
        if flags.intersects(PollFlags::IN | PollFlags::HUP) && readable {
            self.read(buffer, channel)
        } else {
            self.next()
        }
    }

    fn read(&mut self, buffer: &mut [u8], channel: &mut Channel) -> Next {
        let most = buffer.len().min(usize::try_from(self.credit_bytes).unwrap_or(usize::MAX));
        match self.connection.read(&mut buffer[..most]) {
            Ok(bytes) => {
                self.credit_bytes -= bytes as u64;
                self.read_ended = bytes == 0;
                channel.send(&FromGuest::TunnelData { tunnel: self.id, data: buffer[..bytes].to_vec() });
                self.next()
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                self.next()
            }
            Err(_) => Next::Over,
        }
    }

    /// Takes data of the worker; empty means its end. A worker that overruns its window loses the tunnel.
    pub(super) fn take_data(&mut self, data: &[u8], channel: &mut Channel) -> Next {
        if self.write_ended || !self.open {
            return Next::Over;
        }
        self.write_ended = data.is_empty();
        self.waiting.extend_from_slice(data);
        if self.waiting.len() > STREAM_WINDOW_BYTES as usize || self.write(channel).is_err() {
            return Next::Over;
        }
        self.next()
    }

    fn write(&mut self, channel: &mut Channel) -> Result<(), std::io::Error> {
        let mut written = 0;
        while written < self.waiting.len() {
            match self.connection.write(&self.waiting[written..]) {
                Ok(bytes) => written += bytes,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.waiting.drain(..written);
        if written > 0 && !self.write_ended {
            let bytes = u32::try_from(written).unwrap_or(u32::MAX);
            channel.send(&FromGuest::TunnelCredit { tunnel: self.id, bytes });
        }
        if self.write_ended && self.waiting.is_empty() {
            self.connection.shutdown(Shutdown::Write)?;
        }
        Ok(())
    }

    fn next(&self) -> Next {
        if self.read_ended && self.write_ended && self.waiting.is_empty() { Next::Over } else { Next::GoesOn }
    }

    /// Ends the connection so that the step sees an error, unless both directions have ended well.
    pub(super) fn abandon(self) {
        if self.next() == Next::GoesOn {
            reset(&self.connection);
        }
    }
}

/// Makes the end of a connection a reset rather than a normal end.
pub(super) fn reset(connection: &TcpStream) {
    _ = rustix::net::sockopt::set_socket_linger(connection, Some(Duration::ZERO));
}
