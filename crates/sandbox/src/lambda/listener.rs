//! Where guests dial in: each opening is matched to the one call that it is for, which is then forgotten.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use seal::GuestKey;
use seal::channel::{self, CALL_BYTES, Call, ChannelError, OPENING_BYTES, Opener, Sealer};
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Connections that have not proved who they are, at once; more wait in the kernel's queue.
const MAX_STRANGERS: usize = 128;
/// The longest a connection may take to prove it.
const OPENING_LIMIT: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted, as where descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// After so long without a byte the kernel asks whether the guest is there.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// A guest that has proved who it is.
pub(super) struct Guest {
    pub(super) connection: TcpStream,
    pub(super) sealer: Sealer,
    pub(super) opener: Opener,
}

/// What is known of a call until its guest dials in.
struct Expected {
    key: GuestKey,
    call: Call,
    arrived: oneshot::Sender<Guest>,
}

type Calls = Arc<Mutex<HashMap<[u8; CALL_BYTES], Expected>>>;

/// Listens as long as it lives.
pub(super) struct Listener {
    calls: Calls,
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

/// A guest that is expected; dropping it forgets the call.
pub(super) struct Expectation {
    calls: Calls,
    number: [u8; CALL_BYTES],
    arrived: oneshot::Receiver<Guest>,
}

impl Listener {
    /// Binds and begins to accept; needs a tokio runtime.
    pub(super) fn bind(address: SocketAddr) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let address = listener.local_addr()?;
        let calls = Calls::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&calls)));
        Ok(Self { calls, address, accepting })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Expects the guest of one call, with a key that is for this call alone.
    pub(super) fn expect(&self, key: GuestKey, call: Call) -> Expectation {
        let (arrived, arrives) = oneshot::channel();
        let number = call.call;
        lock(&self.calls).insert(number, Expected { key, call, arrived });
        Expectation { calls: Arc::clone(&self.calls), number, arrived: arrives }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Expectation {
    /// Waits for the guest.
    pub(super) async fn guest(&mut self) -> Guest {
        match (&mut self.arrived).await {
            Ok(guest) => guest,
            // Its sender lives in the list of calls until the guest has come, or this is dropped.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Expectation {
    fn drop(&mut self) {
        lock(&self.calls).remove(&self.number);
    }
}

/// The calls. They are consistent between any two statements.
fn lock(calls: &Calls) -> MutexGuard<'_, HashMap<[u8; CALL_BYTES], Expected>> {
    calls.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn accept(listener: TcpListener, calls: Calls) {
    let strangers = Arc::new(Semaphore::new(MAX_STRANGERS));
    loop {
        let permit = Arc::clone(&strangers).acquire_owned().await.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((connection, from)) => {
                let calls = Arc::clone(&calls);
                tokio::spawn(async move {
                    let met = timeout(OPENING_LIMIT, meet(connection, &calls)).await;
                    if !matches!(met, Ok(Ok(()))) {
                        tracing::warn!(%from, "a connection to the listener for Lambda's guests was refused");
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Takes one opening. Nothing is said to who cannot prove to be the guest of a call; it does not use up the call either,
/// since the call's number is as hard to guess as a key.
async fn meet(mut connection: TcpStream, calls: &Calls) -> io::Result<()> {
    let refused = |error: ChannelError| io::Error::new(io::ErrorKind::InvalidData, error);
    let mut opening = [0; OPENING_BYTES];
    connection.read_exact(&mut opening).await?;
    let number = channel::call_of(&opening).map_err(refused)?;
    // In one lock from the check to the removal: of two that send the same opening, one is served.
    let (arrived, answer, sealer, opener) = {
        let mut calls = lock(calls);
        let expected = calls.get(&number).ok_or_else(|| refused(ChannelError::Stranger))?;
        let accepted = channel::accept(&expected.key, &expected.call, &opening).map_err(refused)?;
        let expected = calls.remove(&number).expect("it was there under the same lock");
        (expected.arrived, accepted.0, accepted.1, accepted.2)
    };
    connection.set_nodelay(true)?;
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE);
    SockRef::from(&connection).set_tcp_keepalive(&keep_alive)?;
    connection.write_all(&answer).await?;
    // Whoever expected it may have given up; the guest then sees the connection end.
    drop(arrived.send(Guest { connection, sealer, opener }));
    Ok(())
}

#[cfg(test)]
mod tests {
    use seal::channel::ANSWER_BYTES;
    use zeroize::Zeroizing;

    use super::*;

    fn twin(call: &Call) -> Call {
        Call { call: call.call, token: Zeroizing::new(*call.token) }
    }

    async fn listening() -> (Listener, [u8; 32], Call, Expectation) {
        let listener = Listener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        let (key, call) = (GuestKey::generate().unwrap(), Call::generate().unwrap());
        let (public, copy) = (key.public_bytes(), twin(&call));
        let expectation = listener.expect(key, call);
        (listener, public, copy, expectation)
    }

    /// Sends an opening; whether it is answered.
    async fn send(listener: &Listener, opening: &[u8]) -> bool {
        let mut connection = TcpStream::connect(listener.address()).await.unwrap();
        connection.write_all(opening).await.unwrap();
        connection.read_exact(&mut [0; ANSWER_BYTES]).await.is_ok()
    }

    #[tokio::test]
    async fn the_guest_of_a_call_is_served_once() {
        let (listener, public, call, mut expectation) = listening().await;
        let (opening, _) = channel::dial(&call, &public).unwrap();
        assert!(send(&listener, &opening).await);
        expectation.guest().await;
        assert!(!send(&listener, &opening).await, "the same opening again");
        let (opening, _) = channel::dial(&call, &public).unwrap();
        assert!(!send(&listener, &opening).await, "a new opening with the used token");
    }

    #[tokio::test]
    async fn a_wrong_token_or_key_or_call_is_refused_and_the_guest_still_served() {
        let (listener, public, call, mut expectation) = listening().await;
        let mut wrong = twin(&call);
        wrong.token[0] ^= 1;
        assert!(!send(&listener, &channel::dial(&wrong, &public).unwrap().0).await, "token");
        let other = GuestKey::generate().unwrap().public_bytes();
        assert!(!send(&listener, &channel::dial(&call, &other).unwrap().0).await, "key");
        let mut wrong = twin(&call);
        wrong.call[0] ^= 1;
        assert!(!send(&listener, &channel::dial(&wrong, &public).unwrap().0).await, "call");
        assert!(!send(&listener, &[b'x'; OPENING_BYTES]).await, "no opening at all");
        assert!(send(&listener, &channel::dial(&call, &public).unwrap().0).await);
        expectation.guest().await;
    }

    #[tokio::test]
    async fn a_call_that_nobody_waits_for_any_more_is_refused() {
        let (listener, public, call, expectation) = listening().await;
        drop(expectation);
        assert!(!send(&listener, &channel::dial(&call, &public).unwrap().0).await);
    }
}
