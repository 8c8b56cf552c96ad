//! HTTP/1 and HTTP/2 on TCP for peers that may be hostile: so many connections at most, a request's head within a time limit,
//! and no connection whose peer is gone, so that nobody holds the server up by connecting and saying nothing.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long to wait after the operating system refused a connection, such as for lack of descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
struct Limits {
    /// Most connections at once; more wait in the operating system's queue.
    connections: usize,
    /// Longest wait for the head of a request: of the first one, and with HTTP/1 also between two.
    head: Duration,
    /// After so long without a frame an HTTP/2 peer is asked whether it is there; after as long without an answer the
    /// connection is closed.
    silence: Duration,
    /// Requests of one HTTP/2 connection at once.
    streams: u32,
    /// Bytes of the header fields of one HTTP/2 request.
    header_bytes: u32,
}

const LIMITS: Limits = Limits {
    connections: 4096,
    head: Duration::from_secs(30),
    silence: Duration::from_secs(20),
    streams: 256,
    header_bytes: 32 << 10,
};

/// Serves until `stop` ends and what was begun is finished.
pub async fn serve(listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    serve_within(LIMITS, listener, router, stop).await;
}

async fn serve_within(limits: Limits, listener: TcpListener, router: Router, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let open = GracefulShutdown::new();
    let http = protocol(limits);
    tokio::pin!(stop);
    loop {
        let slot = tokio::select! {
            slot = slots.clone().acquire_owned() => slot.expect("the semaphore is never closed"),
            () = &mut stop => break,
        };
        let stream = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(REFUSED_PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        // It only makes answers wait for others.
        let _ = stream.set_nodelay(true);
        let asked = Arc::new(AtomicBool::new(false));
        let service = TowerToHyperService::new(router.clone());
        let service = service_fn({
            let asked = Arc::clone(&asked);
            move |request| {
                asked.store(true, Ordering::Relaxed);
                service.call(request)
            }
        });
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service).into_owned());
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke off");
                },
                () = silent(&asked, limits.head) => {}
            }
            drop(slot);
        });
    }
    drop(listener);
    open.shutdown().await;
}

/// Both versions of HTTP; which one a connection speaks is seen by its first bytes.
fn protocol(limits: Limits) -> auto::Builder<TokioExecutor> {
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new()).header_read_timeout(limits.head);
    http.http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(limits.silence)
        .keep_alive_timeout(limits.silence)
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(limits.header_bytes);
    http
}

/// Ends when no request has come within the limit. The versions have limits of their own for what comes later, but none
/// for a peer that never says which one it speaks.
async fn silent(asked: &AtomicBool, limit: Duration) {
    tokio::time::sleep(limit).await;
    if asked.load(Ordering::Relaxed) {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    const TIGHT: Limits = Limits {
        connections: 1,
        head: Duration::from_millis(200),
        silence: Duration::from_secs(1),
        ..LIMITS
    };

    /// The first bytes of HTTP/2: the preface and empty settings.
    const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";

    /// One slot, taken by one who says too little: it is closed, and the next is answered.
    #[tokio::test]
    async fn who_says_too_little_is_let_go() {
        for said in [&b""[..], b"P", b"GET / HTTP/1.1\r\nhost:", HTTP_2] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let mut silent = TcpStream::connect(address).await.unwrap();
            silent.write_all(said).await.unwrap();
            let mut asking = TcpStream::connect(address).await.unwrap();
            let router = Router::new().route("/", get(async || "answered"));
            let (stop, stopped) = oneshot::channel::<()>();
            let stopped = async { drop(stopped.await) };
            let server = tokio::spawn(serve_within(TIGHT, listener, router, stopped));
            asking.write_all(b"GET / HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            asking.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("answered"), "{answer}");
            // Closed or cut: either way nothing of it is left.
            let _ = silent.read_to_end(&mut Vec::new()).await;
            stop.send(()).unwrap();
            server.await.unwrap();
        }
    }
}
