//! One request on one connection. The guest ends the program when the step's time is over, so nothing here waits on a
//! clock.

use std::io::{self, Read, Write};
use std::net::TcpStream;

use caller::{MAX_ANSWER_BYTES, Reply, Request, place, too_large};
use protocol::step::{StepError, error_type};

use super::resolver::resolve;
use super::tls::Trust;
use super::wire::{self, Unread};

/// Sends a request and reads the reply to its end.
///
/// # Errors
/// The other side cannot be reached, does not speak HTTP, or says too much.
pub(crate) fn send(request: &Request, trust: &Trust) -> Result<Reply, StepError> {
    let place = place(&request.uri);
    let failed = |what: &str, error: &dyn std::fmt::Display| StepError {
        kind: error_type::COMMUNICATION.to_owned(),
        status: 502,
        title: "The call failed".to_owned(),
        detail: format!("{place} {what}: {error}"),
    };
    let mut stream = open(request, trust).map_err(|error| failed("could not be asked", &error))?;
    // A server may answer and close before it has read everything: what it says counts.
    let sent = stream.write_all(&wire::head(request)).and_then(|()| stream.write_all(&request.body));
    let sent = sent.and_then(|()| stream.flush());
    match wire::read(&mut stream, &request.method, MAX_ANSWER_BYTES) {
        Ok(reply) => Ok(reply),
        Err(Unread::TooLarge) => Err(too_large(&place)),
        Err(Unread::Broken(error)) => {
            Err(failed("did not answer", sent.as_ref().err().unwrap_or(&error) as &dyn std::fmt::Display))
        }
    }
}

/// Both directions of a connection.
trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn open(request: &Request, trust: &Trust) -> io::Result<Box<dyn Stream>> {
    let secure = request.uri.scheme_str() == Some("https");
    let host = request.uri.host().unwrap_or_default();
    let port = request.uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
    let stream = TcpStream::connect((resolve(host)?, port))?;
    stream.set_nodelay(true)?;
    Ok(match secure {
        true => Box::new(trust.encrypt(stream, host)?),
        false => Box::new(stream),
    })
}
