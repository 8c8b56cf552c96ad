//! One connection to a daemon, whatever its address: a Unix socket, TCP, TLS, or a program that speaks for it over ssh.

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::process::{Child, Command};
use tokio_rustls::TlsConnector;

use super::options::Host;
use super::trouble::{Trouble, from_bollard};

/// How long a request may take until its answer begins; a pull answers while it goes on.
const REQUEST_SECONDS: u64 = 120;
/// How long a connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Connections that wait for the next request.
const IDLE_CONNECTIONS: usize = 8;

/// A client of the daemon that speaks a version of the API which the daemon knows.
pub(super) async fn connect(host: &Host) -> Result<Docker, Trouble> {
    let connector = Connector::new(host)?;
    let client =
        Client::builder(TokioExecutor::new()).pool_max_idle_per_host(IDLE_CONNECTIONS).build(connector);
    let send = move |request: BollardRequest| {
        let client = client.clone();
        async move { client.request(request).await.map_err(bollard::errors::Error::from) }
    };
    // The name in the address is for the Host field alone: the connector knows where to go.
    let docker = Docker::connect_with_custom_transport(
        send,
        Some("http://docker"),
        REQUEST_SECONDS,
        API_DEFAULT_VERSION,
    )
    .map_err(from_bollard)?;
    docker.negotiate_version().await.map_err(from_bollard)
}

/// Makes connections.
#[derive(Clone)]
struct Connector {
    host: Host,
    tls: Option<Arc<ClientConfig>>,
}

impl Connector {
    fn new(host: &Host) -> Result<Self, Trouble> {
        let tls = match host {
            Host::Tls { certificates, .. } => Some(Arc::new(tls(certificates)?)),
            _ => None,
        };
        Ok(Connector { host: host.clone(), tls })
    }

    async fn dial(self) -> io::Result<Stream> {
        let stream: Box<dyn Io> = match &self.host {
            Host::Unix(path) => Box::new(UnixStream::connect(path).await?),
            Host::Tcp(authority) => Box::new(tcp(authority).await?),
            Host::Tls { authority, .. } => {
                let config = self.tls.clone().expect("made with the connector");
                let name = authority.rsplit_once(':').map_or(authority.as_str(), |(name, _)| name);
                let name = ServerName::try_from(name.trim_matches(['[', ']']).to_owned())
                    .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                Box::new(TlsConnector::from(config).connect(name, tcp(authority).await?).await?)
            }
            Host::Ssh { destination, port } => Box::new(Spoken::start(destination, *port)?),
        };
        Ok(Stream(stream))
    }
}

async fn tcp(authority: &str) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// As Docker's client: the daemon's certificate is checked against ca.pem alone, ours is cert.pem with key.pem.
fn tls(folder: &Path) -> Result<ClientConfig, Trouble> {
    let unreadable = |name: &str, why: String| {
        Trouble::Configuration(format!("{} cannot be used: {why}", folder.join(name).display()))
    };
    let certificates = |name: &str| {
        CertificateDer::pem_file_iter(folder.join(name))
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| unreadable(name, error.to_string()))
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates("ca.pem")? {
        roots.add(certificate).map_err(|error| unreadable("ca.pem", error.to_string()))?;
    }
    let key = PrivateKeyDer::from_pem_file(folder.join("key.pem"))
        .map_err(|error| unreadable("key.pem", error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("ring has the usual versions")
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates("cert.pem")?, key)
        .map_err(|error| unreadable("cert.pem", error.to_string()))
}

impl tower_service::Service<hyper::Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<TokioIo<Stream>>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: hyper::Uri) -> Self::Future {
        let dialling = self.clone().dial();
        Box::pin(async move {
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection within 10 s");
            tokio::time::timeout(CONNECT_LIMIT, dialling).await.map_err(late)?.map(TokioIo::new)
        })
    }
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// An open connection.
struct Stream(Box<dyn Io>);

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0).poll_shutdown(cx)
    }
}

/// A connection through the standard streams of `ssh HOST docker system dial-stdio`. Dropped, it ends the program.
struct Spoken {
    streams: tokio::io::Join<tokio::process::ChildStdout, tokio::process::ChildStdin>,
    _program: Child,
}

impl Spoken {
    fn start(destination: &str, port: Option<u16>) -> io::Result<Spoken> {
        let mut ssh = Command::new("ssh");
        // Without a terminal nobody could answer a question.
        ssh.args(["-o", "BatchMode=yes", "-o", "ConnectTimeout=10", "-T"]);
        if let Some(port) = port {
            ssh.arg("-p").arg(port.to_string());
        }
        ssh.args(["--", destination, "docker", "system", "dial-stdio"]);
        let mut program = ssh
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let output = program.stdout.take().expect("a pipe was asked for");
        let input = program.stdin.take().expect("a pipe was asked for");
        Ok(Spoken { streams: tokio::io::join(output, input), _program: program })
    }
}

impl AsyncRead for Spoken {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.streams).poll_read(cx, buf)
    }
}

impl AsyncWrite for Spoken {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.streams).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.streams).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.streams).poll_shutdown(cx)
    }
}
