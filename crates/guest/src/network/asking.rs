//! Questions to the resolver over TCP (RFC 7766): each message after its length. Some clients ask so from the start.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

/// Bytes of the length before a message.
const LENGTH_BYTES: usize = 2;
/// Longest question that is read; one name fits many times over.
const MOST_QUESTION_BYTES: usize = 1500;

/// A connection of somebody who asks.
pub(super) struct Asking {
    pub(super) connection: TcpStream,
    heard: Vec<u8>,
}

/// What has come.
pub(super) enum Heard {
    /// Not all of a question yet.
    Part,
    /// A question.
    Question(Vec<u8>),
    /// The end, or nothing that is a question.
    Over,
}

impl Asking {
    pub(super) fn new(connection: TcpStream) -> Option<Self> {
        connection.set_nonblocking(true).ok()?;
        Some(Self { connection, heard: Vec::new() })
    }

    /// Takes what has come; one question at a time.
    pub(super) fn hear(&mut self) -> Heard {
        let mut buffer = [0; LENGTH_BYTES + MOST_QUESTION_BYTES];
        loop {
            if let Some(question) = self.question() {
                return Heard::Question(question);
            }
            if self.heard.len() >= buffer.len() {
                return Heard::Over;
            }
            match self.connection.read(&mut buffer) {
                Ok(0) => return Heard::Over,
                Ok(bytes) => self.heard.extend_from_slice(&buffer[..bytes]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Heard::Part,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Heard::Over,
            }
        }
    }

    fn question(&mut self) -> Option<Vec<u8>> {
        let length = usize::from(u16::from_be_bytes(*self.heard.first_chunk::<LENGTH_BYTES>()?));
        let end = LENGTH_BYTES + length;
        let question = self.heard.get(LENGTH_BYTES..end)?.to_vec();
        self.heard.drain(..end);
        Some(question)
    }

    /// Whether the answer went out; it is short, so that a client that reads has room for it.
    pub(super) fn answer(&mut self, packet: &[u8]) -> bool {
        let length = u16::try_from(packet.len()).expect("an answer is short").to_be_bytes();
        let message = [&length[..], packet].concat();
        self.connection.write(&message).is_ok_and(|written| written == message.len())
    }
}
