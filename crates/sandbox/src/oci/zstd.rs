//! Zstandard streams of several frames, some of them to be skipped (RFC 8878), as tools for lazy pulling write them.

use std::io::{self, BufRead, BufReader, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Reads one frame after the other.
pub(super) struct Frames<R: Read> {
    state: State<R>,
}

enum State<R: Read> {
    Between(BufReader<R>),
    Within(Box<StreamingDecoder<Frame<R>, FrameDecoder>>),
    Broken,
}

/// A frame from its beginning, of which the magic number was read already.
struct Frame<R: Read> {
    magic: io::Cursor<[u8; 4]>,
    stream: BufReader<R>,
}

impl<R: Read> Read for Frame<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.magic.read(buffer)? {
            0 => self.stream.read(buffer),
            read => Ok(read),
        }
    }
}

impl<R: Read> Frames<R> {
    pub(super) fn new(stream: R) -> Self {
        Self { state: State::Between(BufReader::new(stream)) }
    }
}

impl<R: Read> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            self.state = match std::mem::replace(&mut self.state, State::Broken) {
                State::Broken => return Err(broken("it ended in an error before")),
                State::Between(mut stream) => {
                    if stream.fill_buf()?.is_empty() {
                        self.state = State::Between(stream);
                        return Ok(0);
                    }
                    next_frame(stream)?
                }
                State::Within(mut frame) => match frame.read(buffer)? {
                    0 if !buffer.is_empty() => State::Between(frame.into_inner().stream),
                    read => {
                        self.state = State::Within(frame);
                        return Ok(read);
                    }
                },
            };
        }
    }
}

fn next_frame<R: Read>(mut stream: BufReader<R>) -> io::Result<State<R>> {
    let mut magic = [0; 4];
    stream.read_exact(&mut magic)?;
    match magic {
        [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
            let mut length = [0; 4];
            stream.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut stream.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            Ok(State::Between(stream))
        }
        _ => {
            let frame = Frame { magic: io::Cursor::new(magic), stream };
            let decoder = StreamingDecoder::new(frame).map_err(|error| broken(&error.to_string()))?;
            Ok(State::Within(Box::new(decoder)))
        }
    }
}

fn broken(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the layer's compression is damaged: {why}"))
}
