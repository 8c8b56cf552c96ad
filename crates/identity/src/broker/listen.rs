//! HTTP on TCP for peers that may be hostile: so many connections at most, and a request's head within a time limit, so that
//! nobody holds the broker up by connecting and saying nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long to wait after the operating system refused a connection, such as for lack of descriptors.
const REFUSED_PAUSE: Duration = Duration::from_millis(50);

/// Limits of a listener.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Most connections at once; more wait in the operating system's queue.
    pub(crate) connections: usize,
    /// Longest wait for the head of a request, also between two requests of a connection.
    pub(crate) head: Duration,
}

/// The worker API's limits.
pub(crate) const LIMITS: Limits = Limits { connections: 1024, head: Duration::from_secs(30) };

/// Serves until `stop` ends and what was begun is finished.
pub(crate) async fn serve_http(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    stop: impl Future<Output = ()>,
) {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let open = GracefulShutdown::new();
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(limits.head);
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
        let service = TowerToHyperService::new(router.clone());
        let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(slot);
        });
    }
    drop(listener);
    open.shutdown().await;
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::oneshot;

    use super::*;

    const TIGHT: Limits = Limits { connections: 1, head: Duration::from_millis(200) };

    async fn connect(listener: &TcpListener) -> TcpStream {
        TcpStream::connect(listener.local_addr().unwrap()).await.unwrap()
    }

    /// One slot, taken by one who says nothing: it is closed, and the next is answered.
    #[tokio::test]
    async fn who_says_nothing_is_let_go() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (mut silent, mut asking) = (connect(&listener).await, connect(&listener).await);
        let router = Router::new().route("/", get(async || "answered"));
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve_http(listener, router, TIGHT, async { drop(stopped.await) }));
        asking.write_all(b"GET / HTTP/1.1\r\nhost: b\r\nconnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        asking.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("answered"), "{answer}");
        assert!(silent.read_to_end(&mut Vec::new()).await.is_ok(), "the silent one was closed");
        stop.send(()).unwrap();
        server.await.unwrap();
    }
}
