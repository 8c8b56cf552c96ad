//! As much of HTTP/1.1 (RFC 9112) as the Runtime API needs: one request on one connection, a response of known size.
//!
//! Its own, because a general client would be larger than the rest of the guest. It trusts the platform to be what it is,
//! and still bounds what it reads.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// Bytes of a response's head, at most.
const MOST_HEAD_BYTES: usize = 32 * 1024;
/// Headers of a response, at most.
const MOST_HEADERS: usize = 100;
/// Bytes that are read at a time.
const READ_BYTES: usize = 4 * 1024;

/// What came back.
#[derive(Debug)]
pub(super) struct Response {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    pub(super) body: Vec<u8>,
}

impl Response {
    /// The first header of this name, in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends a request and waits for its whole response, however long it takes: an execution environment is frozen meanwhile.
pub(super) fn exchange(
    host: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    most_body_bytes: usize,
) -> io::Result<Response> {
    let mut connection = TcpStream::connect(host)?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    connection.write_all(head.as_bytes())?;
    connection.write_all(body)?;
    read_response(&mut connection, most_body_bytes)
}

/// Reads a response to its end.
fn read_response(source: &mut impl Read, most_body_bytes: usize) -> io::Result<Response> {
    let mut reader = Reader { source, buffer: Vec::new(), at: 0 };
    let status_line = reader.line(MOST_HEAD_BYTES)?;
    let status = status_line
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.split_whitespace().nth(1)?.parse().ok())
        .ok_or_else(|| malformed("its status line"))?;
    let mut headers = Vec::new();
    let mut left = MOST_HEAD_BYTES;
    loop {
        let line = reader.line(left)?;
        if line.is_empty() {
            break;
        }
        left -= line.len();
        let (name, value) = line.split_once(':').ok_or_else(|| malformed("a header"))?;
        headers.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        if headers.len() > MOST_HEADERS {
            return Err(malformed("too many headers"));
        }
    }
    let mut response = Response { status, headers, body: Vec::new() };
    response.body = read_body(&mut reader, &response, most_body_bytes)?;
    Ok(response)
}

fn read_body<R: Read>(reader: &mut Reader<'_, R>, response: &Response, most: usize) -> io::Result<Vec<u8>> {
    let chunked =
        response.header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
    let mut body = Vec::new();
    if !chunked {
        let length = response.header("content-length").unwrap_or("0");
        let length: usize = length.parse().map_err(|_| malformed("its length"))?;
        reader.take(length, most, &mut body)?;
        return Ok(body);
    }
    loop {
        let line = reader.line(MOST_HEAD_BYTES)?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let length = usize::from_str_radix(digits, 16).map_err(|_| malformed("the length of a chunk"))?;
        if length == 0 {
            // Trailers are not looked at: the connection is closed.
            return Ok(body);
        }
        reader.take(length, most, &mut body)?;
        reader.line(2)?;
    }
}

struct Reader<'a, R> {
    source: &'a mut R,
    buffer: Vec<u8>,
    at: usize,
}

impl<R: Read> Reader<'_, R> {
    fn fill(&mut self) -> io::Result<()> {
        let mut bytes = [0; READ_BYTES];
        match self.source.read(&mut bytes)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            read => {
                self.buffer.extend_from_slice(&bytes[..read]);
                Ok(())
            }
        }
    }

    /// The next line, without its end.
    fn line(&mut self, most_bytes: usize) -> io::Result<String> {
        let mut searched = 0;
        loop {
            let rest = &self.buffer[self.at..];
            if let Some(length) = rest[searched..].iter().position(|byte| *byte == b'\n') {
                let length = searched + length;
                let line = rest[..length].strip_suffix(b"\r").unwrap_or(&rest[..length]);
                let line = String::from_utf8(line.to_vec()).map_err(|_| malformed("its text"))?;
                self.at += length + 1;
                return Ok(line);
            }
            searched = rest.len();
            if searched > most_bytes {
                return Err(malformed("a line that is too long"));
            }
            self.fill()?;
        }
    }

    /// Appends the next `length` bytes, unless that would be more than `most` in all.
    fn take(&mut self, length: usize, most: usize, body: &mut Vec<u8>) -> io::Result<()> {
        if length > most.saturating_sub(body.len()) {
            return Err(malformed("a body that is too long"));
        }
        while self.buffer.len() - self.at < length {
            self.fill()?;
        }
        body.extend_from_slice(&self.buffer[self.at..self.at + length]);
        self.at += length;
        Ok(())
    }
}

fn malformed(what: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("the response of the Runtime API is malformed: {what}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives a byte at a time, as the slowest network would.
    struct Drops<'a>(&'a [u8]);

    impl Read for Drops<'_> {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            self.0 = rest;
            bytes[0] = *first;
            Ok(1)
        }
    }

    fn read(text: &str) -> io::Result<Response> {
        read_response(&mut Drops(text.as_bytes()), 1000)
    }

    #[test]
    fn sized_and_chunked_bodies_are_read() {
        let sized =
            read("HTTP/1.1 200 OK\r\nLambda-Runtime-Aws-Request-Id: 8-4\r\nContent-Length: 5\r\n\r\nhello")
                .unwrap();
        assert_eq!((sized.status, sized.header("lambda-runtime-aws-request-id")), (200, Some("8-4")));
        assert_eq!(sized.body, b"hello");
        let chunked =
            "HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=1\r\nlo\r\n0\r\n\r\n";
        assert_eq!(read(chunked).unwrap().body, b"hello");
        assert!(read("HTTP/1.1 200 OK\r\n\r\n").unwrap().body.is_empty());
    }

    #[test]
    fn what_is_cut_off_malformed_or_too_long_is_an_error() {
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MOST_HEADERS + 1));
        let long = format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "b".repeat(2 * MOST_HEAD_BYTES));
        for text in [
            "",
            "SMTP 200\r\n\r\n",
            "HTTP/1.1 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell",
            "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
            &many,
            &long,
        ] {
            assert!(read(text).is_err(), "{text:.60}");
        }
    }
}
