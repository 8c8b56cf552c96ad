//! HTTP/1.1 on a connection that serves one request (RFC 9112).

use std::io::{self, Read};

use bytes::Bytes;
use caller::{Reply, Request};
use http::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};

/// Bytes of a reply's head, and of all interim replies together.
const MAX_HEAD_BYTES: usize = 64 * 1024;
const MAX_FIELDS: usize = 128;
/// Bytes of a line that announces a chunk, and of all that follows the last one.
const MAX_CHUNK_LINE_BYTES: usize = 1024;
const READ_BYTES: usize = 16 * 1024;

/// Why a reply was not read.
#[derive(Debug)]
pub(crate) enum Unread {
    /// The body passes its limit.
    TooLarge,
    /// The connection or its language broke.
    Broken(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Self {
        Unread::Broken(error)
    }
}

/// The request's head on the wire.
pub(crate) fn head(request: &Request) -> Vec<u8> {
    let target = request.uri.path_and_query().map_or("/", |target| target.as_str());
    let authority = request.uri.authority().map_or("", |authority| authority.as_str());
    let host = authority.rsplit('@').next().unwrap_or_default();
    let mut out = format!("{} {target} HTTP/1.1\r\n", request.method).into_bytes();
    let mut field = |name: &str, value: &[u8]| {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    };
    if !request.headers.contains_key(HOST) {
        field("host", host.as_bytes());
    }
    // These describe the connection, which is ours.
    let own = ["connection", "content-length", "transfer-encoding"];
    for (name, value) in request.headers.iter().filter(|(name, _)| !own.contains(&name.as_str())) {
        field(name.as_str(), value.as_bytes());
    }
    if !request.headers.contains_key(USER_AGENT) {
        field("user-agent", b"sagewai");
    }
    let bodiless = matches!(request.method, Method::GET | Method::HEAD | Method::DELETE | Method::OPTIONS);
    if !request.body.is_empty() || !bodiless {
        field("content-length", request.body.len().to_string().as_bytes());
    }
    field("connection", b"close");
    out.extend_from_slice(b"\r\n");
    out
}

/// Reads a reply to its end, its body to at most `limit` bytes.
pub(crate) fn read(stream: impl Read, method: &Method, limit: usize) -> Result<Reply, Unread> {
    let mut input = Input { stream, buffer: Vec::new(), at: 0 };
    let (status, headers) = loop {
        let (status, headers) = input.head()?;
        // Interim replies say nothing that matters here.
        if !status.is_informational() {
            break (status, headers);
        }
    };
    let empty = *method == Method::HEAD || matches!(status.as_u16(), 204 | 304);
    let chunked = headers
        .get_all(TRANSFER_ENCODING)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .next_back()
        .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"));
    let body = match (empty, chunked) {
        (true, _) => Vec::new(),
        (false, true) => input.chunks(limit)?,
        (false, false) => match length(&headers)? {
            Some(length) if length > limit as u64 => return Err(Unread::TooLarge),
            Some(length) => {
                let mut body = Vec::new();
                input.take(length as usize, &mut body)?;
                body
            }
            None => input.rest(limit)?,
        },
    };
    Ok(Reply { status, headers, body: Bytes::from(body) })
}

fn length(headers: &HeaderMap) -> io::Result<Option<u64>> {
    let mut found = None;
    for value in headers.get_all(CONTENT_LENGTH) {
        let parsed = value.to_str().ok().and_then(|text| text.trim().parse::<u64>().ok());
        match (found, parsed) {
            (None, Some(length)) => found = Some(length),
            (Some(before), Some(length)) if before == length => {}
            _ => return Err(malformed("its length")),
        }
    }
    Ok(found)
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{what} makes no sense"))
}

struct Input<R> {
    stream: R,
    buffer: Vec<u8>,
    /// How much of the buffer has been taken.
    at: usize,
}

impl<R: Read> Input<R> {
    /// Reads more; `false` at the end.
    fn more(&mut self) -> io::Result<bool> {
        self.buffer.drain(..self.at);
        self.at = 0;
        let mut piece = [0; READ_BYTES];
        loop {
            match self.stream.read(&mut piece) {
                Ok(read) => {
                    self.buffer.extend_from_slice(&piece[..read]);
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn must_more(&mut self) -> io::Result<()> {
        match self.more()? {
            true => Ok(()),
            false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed too early")),
        }
    }

    fn head(&mut self) -> io::Result<(StatusCode, HeaderMap)> {
        loop {
            let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
            let mut response = httparse::Response::new(&mut fields);
            let parsed = response.parse(&self.buffer[self.at..]);
            match parsed.map_err(|error| malformed(&format!("its head ({error})")))? {
                httparse::Status::Complete(length) => {
                    let status = response.code.and_then(|code| StatusCode::from_u16(code).ok());
                    let status = status.ok_or_else(|| malformed("its status"))?;
                    let mut headers = HeaderMap::new();
                    for field in response.headers.iter() {
                        let name = HeaderName::from_bytes(field.name.as_bytes());
                        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(field.value)) {
                            headers.append(name, value);
                        }
                    }
                    self.at += length;
                    return Ok((status, headers));
                }
                httparse::Status::Partial if self.buffer.len() - self.at > MAX_HEAD_BYTES => {
                    return Err(malformed("its head, which does not end,"));
                }
                httparse::Status::Partial => self.must_more()?,
            }
        }
    }

    fn take(&mut self, count: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let mut left = count;
        loop {
            let here = left.min(self.buffer.len() - self.at);
            into.extend_from_slice(&self.buffer[self.at..self.at + here]);
            self.at += here;
            left -= here;
            if left == 0 {
                return Ok(());
            }
            self.must_more()?;
        }
    }

    fn line(&mut self) -> io::Result<String> {
        loop {
            let unread = &self.buffer[self.at..];
            if let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&unread[..end]).trim_end_matches('\r').to_owned();
                self.at += end + 1;
                return Ok(line);
            }
            if unread.len() > MAX_CHUNK_LINE_BYTES {
                return Err(malformed("a chunk"));
            }
            self.must_more()?;
        }
    }

    fn chunks(&mut self, limit: usize) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        loop {
            let line = self.line()?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let digits = !size.is_empty() && size.bytes().all(|byte| byte.is_ascii_hexdigit());
            let size = digits.then(|| usize::from_str_radix(size, 16).ok()).flatten();
            let size = size.ok_or_else(|| malformed("a chunk"))?;
            if size == 0 {
                // What follows is of no interest, and the connection is not used again.
                return Ok(body);
            }
            if size > limit - body.len() {
                return Err(Unread::TooLarge);
            }
            self.take(size, &mut body)?;
            if !self.line()?.is_empty() {
                return Err(malformed("a chunk").into());
            }
        }
    }

    fn rest(&mut self, limit: usize) -> Result<Vec<u8>, Unread> {
        let mut body = Vec::new();
        loop {
            body.extend_from_slice(&self.buffer[self.at..]);
            self.at = self.buffer.len();
            if body.len() > limit {
                return Err(Unread::TooLarge);
            }
            if !self.more()? {
                return Ok(body);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time, so that every boundary is met.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn body(text: &str) -> Result<String, Unread> {
        let reply = read(Slow(text.as_bytes()), &Method::GET, 64)?;
        Ok(format!("{} {}", reply.status.as_u16(), String::from_utf8_lossy(&reply.body)))
    }

    #[test]
    fn bodies_end_in_each_of_the_ways() {
        for (text, expected) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabcdef", "200 abc"),
            ("HTTP/1.1 200 OK\r\n\r\nto the end", "200 to the end"),
            (
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n",
                "200 abc0123456789",
            ),
            ("HTTP/1.1 204 No Content\r\nContent-Length: 3\r\n\r\n", "204 "),
            (
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.0 404 No\r\n\r\n",
                "404 ",
            ),
        ] {
            assert_eq!(body(text).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_cut_or_malformed_is_no_reply() {
        for text in [
            "",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab",
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
            "SSH-2.0-OpenSSH_9\r\n",
        ] {
            assert!(matches!(body(text), Err(Unread::Broken(_))), "{text}");
        }
    }

    #[test]
    fn a_body_has_a_limit_in_each_of_the_ways() {
        let long = "x".repeat(65);
        for text in [
            format!("HTTP/1.1 200 OK\r\nContent-Length: 65\r\n\r\n{long}"),
            format!("HTTP/1.1 200 OK\r\n\r\n{long}"),
            format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n{long}\r\n0\r\n\r\n"),
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n".to_owned(),
        ] {
            assert!(matches!(body(&text), Err(Unread::TooLarge)), "{text}");
        }
    }
}
