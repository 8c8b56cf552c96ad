//! HTTP clients: a plain one for what the operator configured (the broker), and a guarded one for what documents name.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use sandbox::egress::{Dialer, GuardedConnector};

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
    Ok(Client::builder(TokioExecutor::new()).build(with_tls(GuardedConnector::new(dialer))?))
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
