//! HTTP/1.1 over TCP or TLS. Certificates are read only for an https server: they cost more than the request.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::TokioExecutor;

use crate::failure::Failure;

/// How long a connection may take to be made.
const CONNECT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

pub(super) enum Transport {
    Plain(Client<HttpConnector, Full<Bytes>>),
    Tls(Client<HttpsConnector<HttpConnector>, Full<Bytes>>),
}

impl Transport {
    pub(super) fn new(tls: bool) -> Result<Self, Failure> {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        if !tls {
            return Ok(Transport::Plain(Client::builder(TokioExecutor::new()).build(tcp)));
        }
        tcp.enforce_http(false);
        let builder = HttpsConnectorBuilder::new().with_native_roots().map_err(|error| {
            Failure::failed("failed to read the certificates that this machine trusts")
                .because(&error)
                .hint("install the package ca-certificates")
        })?;
        let connector = builder.https_only().enable_http1().wrap_connector(tcp);
        Ok(Transport::Tls(Client::builder(TokioExecutor::new()).build(connector)))
    }

    pub(super) async fn send(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Error> {
        match self {
            Transport::Plain(client) => client.request(request).await,
            Transport::Tls(client) => client.request(request).await,
        }
    }
}
