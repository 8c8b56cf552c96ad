//! Frames to bytes and back: pure functions on buffers, the same on both sides of the channel.
//!
//! A length is checked before anything is allocated for it, so a peer can make the other side hold at most
//! one frame ([`MAX_FRAME_BYTES`]) beside what was read in one go.

use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::MAX_FRAME_BYTES;

/// Bytes of the length that precedes each body.
pub const HEADER_BYTES: usize = 4;

/// Bytes of a decoder's buffer that are kept for the next read; more is given back once it is empty.
const KEPT_CAPACITY_BYTES: usize = HEADER_BYTES + MAX_FRAME_BYTES;

/// Why bytes are no frame, or a message does not fit one. After a decoding error the channel is lost: close it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CodecError {
    /// The body would be longer than [`MAX_FRAME_BYTES`].
    #[error("a frame of {bytes} bytes is longer than the limit of {MAX_FRAME_BYTES}")]
    TooLong {
        /// Bytes of the body, as announced or as encoded.
        bytes: usize,
    },
    /// The body is not a message of this direction and version.
    #[error("the body of a frame is malformed")]
    Malformed,
    /// The body holds a message and more behind it.
    #[error("{bytes} bytes follow the message in its frame")]
    Trailing {
        /// Bytes too many.
        bytes: usize,
    },
}

/// Appends `message` to `out` as one frame. On an error `out` is as it was.
pub fn encode<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    let written = encode_body(message, out);
    if written.is_err() {
        out.truncate(start);
    }
    written
}

fn encode_body<M: Serialize>(message: &M, out: &mut Vec<u8>) -> Result<(), CodecError> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    let length = {
        let mut sink = Appender(out);
        postcard::to_io(message, &mut sink).map_err(|_| CodecError::Malformed)?;
        out.len() - start - HEADER_BYTES
    };
    if length > MAX_FRAME_BYTES {
        return Err(CodecError::TooLong { bytes: length });
    }
    let header = u32::try_from(length).expect("the limit of a frame fits 32 bits").to_le_bytes();
    out[start..start + HEADER_BYTES].copy_from_slice(&header);
    Ok(())
}

/// `io::Write` on a borrowed buffer; it cannot fail.
struct Appender<'a>(&'a mut Vec<u8>);

impl std::io::Write for Appender<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Cuts a byte stream into messages. Feed what was read, then take messages until there are none.
#[derive(Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    /// Bytes of `buffer` that have been decoded.
    taken: usize,
}

impl Decoder {
    /// A decoder at the start of a stream.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds bytes as they came off the channel. Take all messages before feeding more, so that the buffer stays
    /// below one frame and one read.
    pub fn feed(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.buffer.drain(..self.taken);
            self.taken = 0;
        }
        if self.buffer.is_empty() && self.buffer.capacity() > KEPT_CAPACITY_BYTES {
            self.buffer = Vec::new();
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole message, or `None` if more bytes are needed.
    pub fn take<M: DeserializeOwned>(&mut self) -> Result<Option<M>, CodecError> {
        let rest = &self.buffer[self.taken..];
        let Some((header, rest)) = rest.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let bytes = usize::try_from(u32::from_le_bytes(*header)).unwrap_or(usize::MAX);
        if bytes > MAX_FRAME_BYTES {
            return Err(CodecError::TooLong { bytes });
        }
        let Some(body) = rest.get(..bytes) else {
            return Ok(None);
        };
        let (message, trailing) = postcard::take_from_bytes(body).map_err(|_| CodecError::Malformed)?;
        if !trailing.is_empty() {
            return Err(CodecError::Trailing { bytes: trailing.len() });
        }
        self.taken += HEADER_BYTES + bytes;
        Ok(Some(message))
    }

    /// Whether the stream stands between two frames: an end of the channel here cuts none off.
    pub fn at_boundary(&self) -> bool {
        self.taken == self.buffer.len()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{FromGuest, MAX_DATA_BYTES, Stream, ToGuest};
    use super::*;

    fn frames() -> Vec<FromGuest> {
        vec![
            FromGuest::Started { pid: 7 },
            FromGuest::Output { stream: Stream::Stdout, data: vec![0xab; MAX_DATA_BYTES] },
            FromGuest::Exited { code: Some(3), signal: None, max_rss_bytes: 1 << 40, cpu_us: 17 },
        ]
    }

    fn decode_all(bytes: &[u8], piece: usize) -> Vec<FromGuest> {
        let mut decoder = Decoder::new();
        let mut messages = Vec::new();
        for piece in bytes.chunks(piece) {
            decoder.feed(piece);
            while let Some(message) = decoder.take().expect("well-formed") {
                messages.push(message);
            }
        }
        assert!(decoder.at_boundary());
        messages
    }

    #[test]
    fn frames_survive_any_split() {
        let mut bytes = Vec::new();
        for frame in &frames() {
            encode(frame, &mut bytes).expect("fits");
        }
        for piece in [1, 2, 3, 5, 1000, 65_536, bytes.len()] {
            assert!(decode_all(&bytes, piece) == frames(), "pieces of {piece}");
        }
    }

    #[test]
    fn a_long_length_is_refused_before_its_body_comes() {
        let mut decoder = Decoder::new();
        decoder.feed(&u32::MAX.to_le_bytes());
        assert_eq!(decoder.take::<FromGuest>().err(), Some(CodecError::TooLong { bytes: u32::MAX as usize }));
    }

    #[test]
    fn a_message_that_is_too_long_leaves_the_buffer_alone() {
        let mut out = vec![1, 2, 3];
        let message = ToGuest::Stdin { data: vec![0; MAX_FRAME_BYTES] };
        assert!(matches!(encode(&message, &mut out), Err(CodecError::TooLong { .. })));
        assert_eq!(out, [1, 2, 3]);
    }

    #[test]
    fn trailing_bytes_empty_bodies_and_unknown_messages_are_errors() {
        let mut out = Vec::new();
        encode(&ToGuest::Kill, &mut out).expect("fits");
        out[0] += 1;
        out.push(0);
        let mut decoder = Decoder::new();
        decoder.feed(&out);
        assert_eq!(decoder.take::<ToGuest>().err(), Some(CodecError::Trailing { bytes: 1 }));
        for body in [&[][..], &[0xff], &[0x7f, 1, 2]] {
            let mut decoder = Decoder::new();
            decoder.feed(&(body.len() as u32).to_le_bytes());
            decoder.feed(body);
            assert_eq!(decoder.take::<ToGuest>().err(), Some(CodecError::Malformed));
        }
    }

    #[test]
    fn hostile_bytes_neither_panic_nor_allocate_beyond_the_frame() {
        // A xorshift generator: deterministic, and a failure names its seed.
        for seed in 1..20_000_u64 {
            let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let body: Vec<u8> = (0..seed % 64)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    (state >> 32) as u8
                })
                .collect();
            let mut decoder = Decoder::new();
            decoder.feed(&(body.len() as u32).to_le_bytes());
            decoder.feed(&body);
            drop(decoder.take::<FromGuest>());
            drop(decoder.take::<ToGuest>());
        }
    }
}
