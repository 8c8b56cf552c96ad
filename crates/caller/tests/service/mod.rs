//! A small HTTPS service for tests, with a certificate of its own authority for `localhost`.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Asked {
    /// `GET /path?query`
    pub(crate) line: String,
    /// Header fields, names lower-case.
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }
}

/// Status and header fields, each line ended by `\r\n`, then the body.
pub(crate) type Said = (&'static str, String, String);

/// The service; it ends with the test's process.
pub(crate) struct Service {
    pub(crate) address: SocketAddr,
    /// The authority's certificate, PEM.
    pub(crate) roots: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Service {
    /// Starts it; `answer` is called for each request, each on a connection of its own.
    pub(crate) fn start(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Service {
        let (config, roots) = certified();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, seen) = (Arc::new(answer), asked.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (config, answer, seen) = (config.clone(), answer.clone(), seen.clone());
                std::thread::spawn(move || serve(stream, config, &*answer, &seen));
            }
        });
        Service { address, roots, asked }
    }

    /// An address of the service.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.address.port())
    }

    /// The requests so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn certified() -> (Arc<ServerConfig>, String) {
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = parameters.self_signed(&authority_key).unwrap();
    let issuer = rcgen::Issuer::new(parameters, authority_key);
    let key = rcgen::KeyPair::generate().unwrap();
    let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = parameters.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    (Arc::new(config), authority.pem())
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    answer: &(dyn Fn(&Asked) -> Said + Send + Sync),
    seen: &Mutex<Vec<Asked>>,
) {
    let mut stream = StreamOwned::new(ServerConnection::new(config).unwrap(), stream);
    let Some(asked) = read(&mut stream) else { return };
    seen.lock().unwrap().push(asked.clone());
    let (status, headers, body) = answer(&asked);
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len());
    let _ = stream.write_all(text.as_bytes());
    stream.conn.send_close_notify();
    let _ = stream.flush();
}

fn read(stream: &mut impl Read) -> Option<Asked> {
    let mut text = Vec::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        text.extend_from_slice(&piece[..read]);
        let Some(end) = text.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&text[..end]).into_owned();
        let mut lines = head.lines();
        let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
        let fields = lines.filter_map(|line| line.split_once(": "));
        let headers: BTreeMap<_, _> =
            fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect();
        let length = headers.get("content-length").and_then(|text| text.parse().ok()).unwrap_or(0);
        if text.len() >= end + 4 + length {
            let body = String::from_utf8_lossy(&text[end + 4..]).into_owned();
            return Some(Asked { line, headers, body });
        }
    }
}
