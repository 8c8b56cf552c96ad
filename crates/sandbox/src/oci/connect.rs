//! HTTP to registries: image references come from documents, so every connection, redirects and token servers included, goes
//! through the guard that keeps steps from private addresses.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::Uri;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::egress::{Denial, DenialReason, Dialer, Host};

/// The client.
pub(super) type HttpClient = Client<HttpsConnector<Guarded>, Full<Bytes>>;

/// A client that dials through `dialer`; fails where this machine has no root certificates.
pub(super) fn client(dialer: Dialer) -> io::Result<HttpClient> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .wrap_connector(Guarded { dialer });
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// Dials what a [`Dialer`] permits.
#[derive(Clone)]
pub(super) struct Guarded {
    dialer: Dialer,
}

impl tower_service::Service<Uri> for Guarded {
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
            Ok(TokioIo::new(dialer.connect(&host, port).await.map_err(refused)?))
        })
    }
}

/// The guard's refusal, as an error that travels through the client.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(Denial);

/// What the guard refused, if `error` is about that.
pub(super) fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Denial> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(Refused(denial)) = error.downcast_ref::<Refused>() {
            return Some(denial);
        }
        // An error within an `io::Error` is not its source but its content.
        if let Some(Refused(denial)) = error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<Refused>())
        {
            return Some(denial);
        }
        next = error.source();
    }
    None
}

/// The innermost cause, which is what an operator can act on.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
