//! Server-sent events, read from a body as it comes.

use http_body_util::BodyExt;
use hyper::body::Incoming;

/// Bytes of one event; a longer one ends the stream.
const EVENT_LIMIT_BYTES: usize = 64 << 20;

/// A stream of events.
pub(crate) struct ServerEvents {
    body: Incoming,
    parser: Parser,
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct ServerEvent {
    /// Its name.
    pub(crate) name: String,
    /// Its data, lines joined.
    pub(crate) data: String,
}

impl ServerEvents {
    pub(super) fn new(body: Incoming) -> Self {
        ServerEvents { body, parser: Parser::default() }
    }

    /// The next event; `None` when the connection has ended or was cut.
    pub(crate) async fn next(&mut self) -> Option<ServerEvent> {
        loop {
            if let Some(event) = self.parser.take() {
                return Some(event);
            }
            let frame = self.body.frame().await?.ok()?;
            if let Some(data) = frame.data_ref() {
                self.parser.feed(data);
            }
            if self.parser.buffer.len() > EVENT_LIMIT_BYTES {
                return None;
            }
        }
    }
}

#[derive(Default)]
struct Parser {
    buffer: Vec<u8>,
    /// How much of the buffer has no line break.
    searched: usize,
    event: ServerEvent,
}

impl Parser {
    fn feed(&mut self, data: &[u8]) {
        self.buffer.extend_from_slice(data);
    }

    fn take(&mut self) -> Option<ServerEvent> {
        while let Some(end) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n') {
            let end = self.searched + end;
            let line = String::from_utf8_lossy(&self.buffer[..end]).into_owned();
            self.buffer.drain(..=end);
            self.searched = 0;
            let line = line.trim_end_matches('\r');
            if line.is_empty() {
                if !self.event.data.is_empty() {
                    return Some(std::mem::take(&mut self.event));
                }
                self.event = ServerEvent::default();
                continue;
            }
            self.field(line);
        }
        self.searched = self.buffer.len();
        None
    }

    fn field(&mut self, line: &str) {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "event" => value.clone_into(&mut self.event.name),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_out_whole_at_every_split() {
        let stream =
            b": keep-alive\n\nevent: step\nid: 1\ndata: {\"a\":1}\ndata: 2\n\nevent: end\r\ndata: {}\r\n\r\n";
        for split in 0..stream.len() {
            let mut parser = Parser::default();
            let mut found = Vec::new();
            for part in [&stream[..split], &stream[split..]] {
                parser.feed(part);
                while let Some(event) = parser.take() {
                    found.push((event.name, event.data));
                }
            }
            let expected = [("step", "{\"a\":1}\n2"), ("end", "{}")];
            assert_eq!(
                found,
                expected.map(|(name, data)| (name.to_owned(), data.to_owned())),
                "split at {split}"
            );
        }
    }
}
