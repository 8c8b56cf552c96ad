//! HTTP to registries: image references come from documents, so every connection, redirects and token servers included, goes
//! through the guard that keeps steps from private addresses.

use std::error::Error;
use std::io;

use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;

use crate::egress::{Dialer, GuardedConnector};

/// The client.
pub(super) type HttpClient = Client<HttpsConnector<GuardedConnector>, Full<Bytes>>;

/// A client that dials through `dialer`; fails where this machine has no root certificates.
pub(super) fn client(dialer: Dialer) -> io::Result<HttpClient> {
    let connector = HttpsConnectorBuilder::new()
        .with_native_roots()?
        .https_or_http()
        .enable_http1()
        .wrap_connector(GuardedConnector::new(dialer));
    Ok(Client::builder(TokioExecutor::new()).build(connector))
}

/// The innermost cause, which is what an operator can act on.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut last = error;
    while let Some(source) = last.source() {
        last = source;
    }
    last.to_string()
}
