//! Records over a TCP connection as the byte channel of a session.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use seal::channel::{Opener, Sealer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// After the connection has ended, how long AWS may take to say why.
const OBITUARY_LIMIT: Duration = Duration::from_secs(3);
/// Bytes that are read from the network at a time.
const READ_BYTES: usize = 64 * 1024;
/// Bytes that one write seals, at most: what is sealed and not yet sent waits here.
const WRITE_BYTES: usize = 64 * 1024;

/// What the guest writes, opened.
pub(super) struct SealedReader {
    connection: OwnedReadHalf,
    opener: Opener,
    plain: Vec<u8>,
    taken: usize,
    scratch: Box<[u8]>,
    /// Why the invocation ended: a frozen or ended environment closes no connection.
    ended: Option<oneshot::Receiver<String>>,
    /// The connection's own end, held back until AWS has said why or has had time to.
    closing: Option<(io::Result<()>, Pin<Box<Sleep>>)>,
}

impl SealedReader {
    pub(super) fn new(connection: OwnedReadHalf, opener: Opener, ended: oneshot::Receiver<String>) -> Self {
        let scratch = vec![0; READ_BYTES].into_boxed_slice();
        Self { connection, opener, plain: Vec::new(), taken: 0, scratch, ended: Some(ended), closing: None }
    }

    /// Why AWS ended the invocation, once it has.
    fn poll_ended(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(ended) = &mut self.ended else { return Poll::Pending };
        match ready!(Pin::new(ended).poll(context)) {
            Ok(why) => Poll::Ready(io::Error::other(why)),
            Err(_) => {
                self.ended = None;
                Poll::Pending
            }
        }
    }

    fn poll_closing(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Poll::Ready(why) = self.poll_ended(context) {
            return Poll::Ready(Err(why));
        }
        if self.ended.is_some()
            && let Some((_, limit)) = &mut self.closing
        {
            ready!(limit.as_mut().poll(context));
        }
        Poll::Ready(self.closing.take().map_or(Ok(()), |(end, _)| end))
    }

    fn hand_out(&mut self, out: &mut ReadBuf<'_>) -> bool {
        let rest = &self.plain[self.taken..];
        let size = rest.len().min(out.remaining());
        out.put_slice(&rest[..size]);
        self.taken += size;
        size > 0
    }
}

impl AsyncRead for SealedReader {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.closing.is_some() {
                return this.poll_closing(context);
            }
            if this.hand_out(out) || out.remaining() == 0 {
                return Poll::Ready(Ok(()));
            }
            this.plain.clear();
            this.taken = 0;
            let mut bytes = ReadBuf::new(&mut this.scratch);
            let read = match Pin::new(&mut this.connection).poll_read(context, &mut bytes) {
                Poll::Ready(read) => read.map(|()| bytes.filled().len()),
                // Only when nothing more comes: what the guest said before its end is heard first.
                Poll::Pending => return this.poll_ended(context).map(Err),
            };
            let cut_off =
                || io::Error::new(io::ErrorKind::UnexpectedEof, "the connection ended within a record");
            let read = match read {
                Ok(0) => {
                    let end = if this.opener.at_boundary() { Ok(()) } else { Err(cut_off()) };
                    this.closing = Some((end, Box::pin(sleep(OBITUARY_LIMIT))));
                    continue;
                }
                Ok(read) => read,
                Err(error) => {
                    this.closing = Some((Err(error), Box::pin(sleep(OBITUARY_LIMIT))));
                    continue;
                }
            };
            let opened = this.opener.open(&this.scratch[..read], &mut this.plain);
            opened.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
    }
}

/// What the guest reads, sealed.
pub(super) struct SealedWriter {
    connection: OwnedWriteHalf,
    sealer: Sealer,
    /// Records that wait for the network.
    sealed: Vec<u8>,
    sent: usize,
}

impl SealedWriter {
    pub(super) fn new(connection: OwnedWriteHalf, sealer: Sealer) -> Self {
        Self { connection, sealer, sealed: Vec::new(), sent: 0 }
    }

    fn send(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.sent < self.sealed.len() {
            let size = ready!(Pin::new(&mut self.connection).poll_write(context, &self.sealed[self.sent..]))?;
            if size == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += size;
        }
        self.sealed.clear();
        self.sent = 0;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for SealedWriter {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.send(context))?;
        let size = bytes.len().min(WRITE_BYTES);
        this.sealer.seal(&bytes[..size], &mut this.sealed);
        // These bytes are taken; that the network is not ready shows at the next call.
        if let Poll::Ready(sent) = this.send(context) {
            sent?;
        }
        Poll::Ready(Ok(size))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(context))?;
        Pin::new(&mut this.connection).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.send(context))?;
        Pin::new(&mut this.connection).poll_shutdown(context)
    }
}
