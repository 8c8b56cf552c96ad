//! The guard as a connector of hyper: the address that was checked is the address that is dialled, on redirects too.

use std::error::Error;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::Uri;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::{Denial, DenialReason, Dialer, Host};

/// Characters of a refused host that are shown; more is no name.
const MAX_SHOWN_CHARS: usize = 255;

/// Connects an HTTP client to what a [`Dialer`] permits. A refusal travels through the client: [`refusal`] finds it.
#[derive(Clone)]
pub struct GuardedConnector {
    dialer: Dialer,
}

impl GuardedConnector {
    /// A connector that dials through `dialer`.
    pub fn new(dialer: Dialer) -> Self {
        Self { dialer }
    }
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
                let host = text.chars().take(MAX_SHOWN_CHARS).collect();
                io::Error::other(Refused(Denial { host, port, reason }))
            };
            let host = Host::parse(text).map_err(|error| refused(DenialReason::BadName(error)))?;
            Ok(TokioIo::new(dialer.connect(&host, port).await.map_err(refused)?))
        })
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Refused(Denial);

/// What the guard refused, if that is why a client failed.
pub fn refusal<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a Denial> {
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
