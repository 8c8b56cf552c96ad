//! From an invocation to a channel: connect to the worker that made it, and prove to each other who is who.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use protocol::lambda::{self, MAX_ADDRESSES, from_hex};
use seal::channel::{self, ANSWER_BYTES, Opener, Sealer};
use zeroize::Zeroizing;

use crate::channel::Channel;

/// The longest it may take to connect to one address.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The longest the worker may take to answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// After so long without a byte the kernel asks whether the worker is there, so that no network forgets the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// The channel to the worker, or a sentence about why there is none.
pub(super) fn dial(call: &lambda::Call) -> Result<Channel, String> {
    let numbers = channel::Call {
        call: from_hex(&call.call).ok_or("the call's number is malformed")?,
        token: Zeroizing::new(from_hex(&call.token).ok_or("the call's token is malformed")?),
    };
    let key = from_hex(&call.key).ok_or("the worker's key is malformed")?;
    let mut connection = connect(&call.connect)?;
    let (sealer, opener) = greet(&mut connection, &numbers, &key)?;
    let failed = |error: std::io::Error| format!("the connection to the worker failed: {error}");
    connection.set_read_timeout(None).map_err(failed)?;
    connection.set_nodelay(true).map_err(failed)?;
    _ = rustix::net::sockopt::set_socket_keepalive(&connection, true);
    _ = rustix::net::sockopt::set_tcp_keepidle(&connection, KEEP_ALIVE);
    let output = OwnedFd::from(connection.try_clone().map_err(failed)?);
    Channel::sealed(connection.into(), output, sealer, opener).map_err(failed)
}

fn connect(addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let mut told = "the invocation names no address of the worker".to_owned();
    for address in addresses.iter().take(MAX_ADDRESSES) {
        match TcpStream::connect_timeout(address, CONNECT_LIMIT) {
            Ok(connection) => return Ok(connection),
            Err(error) => told = format!("the worker at {address} cannot be reached: {error}"),
        }
    }
    Err(told)
}

fn greet(
    connection: &mut TcpStream,
    call: &channel::Call,
    key: &[u8; 32],
) -> Result<(Sealer, Opener), String> {
    let (opening, dialled) = channel::dial(call, key).map_err(|error| error.to_string())?;
    let mut answer = [0; ANSWER_BYTES];
    connection
        .set_read_timeout(Some(ANSWER_LIMIT))
        .and_then(|()| connection.write_all(&opening))
        .and_then(|()| connection.read_exact(&mut answer))
        .map_err(|error| format!("the worker did not take the call: {error}"))?;
    dialled.answered(&answer).map_err(|error| format!("the worker's answer is refused: {error}"))
}
