//! HTTP clients: a plain one for what the operator configured (the broker), and a guarded one for what documents name.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sandbox::egress::{Denial, DenialReason, Dialer, Host};
use tokio::net::TcpStream;

use crate::error::WorkerError;

/// A request's body.
pub(crate) type Body = Full<Bytes>;
/// Connects to whatever it is told.
pub(crate) type PlainClient = Client<HttpsConnector<HttpConnector>, Body>;
/// Connects to public addresses, and to the private ones that the operator allows.
pub(crate) type GuardedClient = Client<HttpsConnector<GuardedConnector>, Body>;

/// The client for the operator's own services.
pub(crate) fn plain_client() -> Result<PlainClient, WorkerError> {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    Ok(Client::builder(TokioExecutor::new()).build(with_tls(tcp)?))
}

/// The client for requests of documents.
pub(crate) fn guarded_client(dialer: Dialer) -> Result<GuardedClient, WorkerError> {
    Ok(Client::builder(TokioExecutor::new()).build(with_tls(GuardedConnector { dialer })?))
}

fn with_tls<C>(connector: C) -> Result<HttpsConnector<C>, WorkerError> {
    Ok(HttpsConnectorBuilder::new()
        .with_native_roots()
        .map_err(WorkerError::RootCertificates)?
        .https_or_http()
        .enable_http1()
        .enable_http2()
        .wrap_connector(connector))
}

/// Dials through a [`Dialer`], so that the address that was checked is the address that is dialled, on redirects too.
#[derive(Clone)]
pub(crate) struct GuardedConnector {
    dialer: Dialer,
}

impl tower_service::Service<Uri> for GuardedConnector {
    type Response = TokioIo<TcpStream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<TcpStream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let dialer = self.dialer.clone();
        Box::pin(async move {
            let text = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
            let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
            let refused = |reason| {
                io::Error::other(Refused(Denial { host: text.chars().take(255).collect(), port, reason }))
            };
            let host = Host::parse(text).map_err(|error| refused(DenialReason::BadName(error)))?;
            let stream = dialer.connect(&host, port).await.map_err(refused)?;
            Ok(TokioIo::new(stream))
        })
    }
}

/// The guard's refusal, as an error that travels through the HTTP client.
#[derive(Debug)]
pub(crate) struct Refused(pub(crate) Denial);

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for Refused {}

/// A body that is sent whole.
pub(crate) fn body(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into())
}

/// Why a body was not read to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unread {
    /// It has more bytes than this.
    #[error("it is larger than {0} bytes")]
    TooLarge(usize),
    /// The connection broke.
    #[error("{0}")]
    Broken(String),
}

/// Reads a body of at most `limit` bytes.
///
/// # Errors
/// It is larger, or broke off.
pub(crate) async fn read_limited(body: hyper::body::Incoming, limit: usize) -> Result<Bytes, Unread> {
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Unread::TooLarge(limit)),
        Err(error) => Err(Unread::Broken(error.to_string())),
    }
}
