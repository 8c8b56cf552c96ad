//! TLS with the root certificates that the worker trusts: the same for a request in any mode and any image.

use std::ffi::OsString;
use std::io;
use std::net::TcpStream;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An encrypted connection.
pub(crate) type Encrypted = StreamOwned<ClientConnection, TcpStream>;

/// The root certificates.
pub(crate) struct Trust {
    config: Arc<ClientConfig>,
}

impl Trust {
    /// Reads a file of certificates in PEM; what is none is left out, and without a file nothing is trusted.
    pub(crate) fn new(file: Option<OsString>) -> Self {
        let mut roots = RootCertStore::empty();
        if let Some(found) = file.and_then(|file| CertificateDer::pem_file_iter(file).ok()) {
            roots.add_parsable_certificates(found.filter_map(Result::ok));
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("ring has the usual versions")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Trust { config: Arc::new(config) }
    }

    /// Greets a server and checks its certificate for `host`.
    pub(crate) fn encrypt(&self, mut stream: TcpStream, host: &str) -> io::Result<Encrypted> {
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let name = ServerName::try_from(bare.to_owned()).map_err(io::Error::other)?;
        let mut connection = ClientConnection::new(self.config.clone(), name).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        Ok(StreamOwned::new(connection, stream))
    }
}
