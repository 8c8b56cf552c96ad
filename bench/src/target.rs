//! What a workflow's `call: http` reaches: it notes when requests arrive, and answers, or never does.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use crate::machine::monotonic_ns;

/// Path that is answered at once.
pub(crate) const FIRST: &str = "/first";
/// Path that is never answered.
pub(crate) const HOLD: &str = "/hold";
/// Arrivals that may wait to be looked at.
const ARRIVALS: usize = 1024;
/// Bytes of a request's head at most.
const HEAD_LIMIT_BYTES: usize = 8 << 10;
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}";

/// A listener of this process.
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    arrivals: mpsc::Receiver<u64>,
}

impl Target {
    /// Listens on loopback.
    pub(crate) async fn start() -> Result<Target> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("cannot listen on loopback")?;
        let address = listener.local_addr()?;
        let (arrived, arrivals) = mpsc::channel(ARRIVALS);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, arrived.clone()));
            }
        });
        Ok(Target { address, arrivals })
    }

    /// When the next request arrived, in nanoseconds of CLOCK_MONOTONIC.
    pub(crate) async fn arrival(&mut self) -> Result<u64> {
        self.arrivals.recv().await.context("the listener is gone")
    }
}

async fn serve(mut stream: TcpStream, arrived: mpsc::Sender<u64>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::new();
    loop {
        let at = head.is_empty();
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        if at {
            arrived.send(monotonic_ns()).await?;
        }
        anyhow::ensure!(head.len() <= HEAD_LIMIT_BYTES, "the head of a request is too long");
        if head.ends_with(b"\r\n\r\n") {
            if head.starts_with(format!("GET {HOLD}").as_bytes()) {
                std::future::pending::<()>().await;
            }
            head.clear();
            stream.write_all(ANSWER).await?;
        }
    }
}
