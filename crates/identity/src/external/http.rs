//! HTTP to stores: TLS or loopback, a limit on everything, and another try where that is safe.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::time::{sleep, timeout};
use zeroize::Zeroizing;

use super::open::OpenError;
use crate::backend::BackendError;
use crate::reference::Scheme;

/// Longest wait for a connection, seconds.
pub(crate) const CONNECT_SECONDS: u64 = 3;
/// Longest wait for one answer, seconds.
pub(crate) const ANSWER_SECONDS: u64 = 5;
/// Longest answer, bytes.
pub(crate) const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// How often a call is tried again that did not reach the store, or that the store could not answer.
pub(crate) const MAX_RETRIES: u32 = 2;
/// Pause before the first of these, milliseconds; it doubles, and up to half of it is added at random.
pub(crate) const RETRY_PAUSE_MS: u64 = 100;

/// A client of one store.
pub(crate) struct Http {
    store: Scheme,
    base: String,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

/// One request.
pub(crate) struct Call<'a> {
    pub(crate) method: Method,
    /// From the base URL on, with `/` in front; already percent-encoded.
    pub(crate) path: &'a str,
    pub(crate) headers: Vec<(&'static str, Zeroizing<String>)>,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl<'a> Call<'a> {
    pub(crate) fn get(path: &'a str) -> Self {
        Call { method: Method::GET, path, headers: vec![], body: Zeroizing::default() }
    }

    /// Sends JSON.
    pub(crate) fn post(path: &'a str, body: Zeroizing<Vec<u8>>) -> Self {
        let json = ("content-type", Zeroizing::new("application/json".to_owned()));
        Call { method: Method::POST, path, headers: vec![json], body }
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, Zeroizing::new(value.into())));
        self
    }
}

/// An answer; its body is wiped when dropped.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Zeroizing<Vec<u8>>,
}

impl Http {
    /// Of a base URL without a path's end. A password or token in clear text goes to loopback alone.
    pub(crate) fn open(store: Scheme, base: &str, ca_file: Option<&Path>) -> Result<Self, OpenError> {
        let refused = |why: String| OpenError::Refused { store, why };
        let uri: Uri = base.parse().map_err(|error| refused(format!("`{base}` is no URL: {error}")))?;
        let host = uri.host().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
        let loopback = host == "localhost"
            || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        match uri.scheme_str() {
            Some("https") => {}
            Some("http") if loopback => {}
            Some("http") => {
                return Err(refused(format!(
                    "`{base}` would send the broker's credential in the clear: use https"
                )));
            }
            _ => return Err(refused(format!("`{base}` is no URL: it looks like https://host:port"))),
        }
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(Duration::from_secs(CONNECT_SECONDS)));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(ca_file).map_err(refused)?)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(8).build(connector);
        Ok(Http { store, base: base.trim_end_matches('/').to_owned(), client })
    }

    /// Sends a request that may be sent twice; tries again where the store did not answer, is overloaded or failed.
    pub(crate) async fn repeatable(&self, call: &Call<'_>) -> Result<Answer, BackendError> {
        for tried in 0.. {
            let last = tried == MAX_RETRIES;
            match self.once(call).await {
                Ok(answer) if last || !is_passing(answer.status) => return Ok(answer),
                Err(error) if last => return Err(error),
                Ok(_) | Err(_) => sleep(pause(tried)).await,
            }
        }
        unreachable!("the last try returns")
    }

    /// Sends a request once.
    pub(crate) async fn once(&self, call: &Call<'_>) -> Result<Answer, BackendError> {
        let slow = |_| BackendError::Slow { store: self.store, seconds: ANSWER_SECONDS };
        let answer = async {
            let response = self.client.request(self.request(call)?);
            let response = response.await.map_err(|error| self.unreachable(error))?;
            self.collect(response).await
        };
        timeout(Duration::from_secs(ANSWER_SECONDS), answer).await.map_err(slow)?
    }

    /// The base URL.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The store said something that is no success and that the caller does not know.
    pub(crate) fn failed(&self, status: StatusCode) -> BackendError {
        BackendError::Failed { store: self.store, detail: format!("it answered with status {status}") }
    }

    fn request(&self, call: &Call<'_>) -> Result<Request<Full<Bytes>>, BackendError> {
        let mut request =
            Request::builder().method(call.method.clone()).uri(format!("{}{}", self.base, call.path));
        for (name, value) in &call.headers {
            let value = hyper::header::HeaderValue::from_str(value);
            let mut value = value.map_err(|_| BackendError::Credential {
                store: self.store,
                detail: format!("what goes into the header `{name}` has a character that no header can have"),
            })?;
            value.set_sensitive(true);
            request = request.header(*name, value);
        }
        request.body(Full::new(Bytes::copy_from_slice(&call.body))).map_err(|error| self.unreachable(error))
    }

    async fn collect(&self, response: Response<Incoming>) -> Result<Answer, BackendError> {
        let status = response.status();
        let mut incoming = response.into_body();
        let mut body = Zeroizing::new(Vec::new());
        while let Some(frame) = incoming.frame().await {
            let Ok(data) = frame.map_err(|error| self.unreachable(error))?.into_data() else { continue };
            if body.len() + data.len() > MAX_ANSWER_BYTES {
                let what = format!("an answer of {}", self.store);
                return Err(BackendError::TooMuch { what, limit: "8 MiB" });
            }
            append(&mut body, &data);
        }
        Ok(Answer { status, body })
    }

    fn unreachable(&self, error: impl std::error::Error + Send + Sync + 'static) -> BackendError {
        BackendError::Unreachable { store: self.store, place: self.base.clone(), source: Box::new(error) }
    }
}

/// Growing would leave the smaller copy behind, unwiped.
fn append(body: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    if body.capacity() - body.len() < data.len() {
        let mut larger = Zeroizing::new(Vec::with_capacity((body.len() + data.len()).next_power_of_two()));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(data);
}

fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504)
}

fn pause(tried: u32) -> Duration {
    let pause = RETRY_PAUSE_MS << tried;
    let mut random = [0; 2];
    // Without randomness the pause is a little shorter, and nothing else.
    let _ = getrandom::fill(&mut random);
    Duration::from_millis(pause + u64::from(u16::from_be_bytes(random)) * pause / 2 / u64::from(u16::MAX))
}

fn tls(ca_file: Option<&Path>) -> Result<rustls::ClientConfig, String> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        None => {
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
        }
        Some(path) => {
            let refused =
                |why: String| format!("{} is no file of certificates in PEM: {why}", path.display());
            let certificates =
                CertificateDer::pem_file_iter(path).map_err(|error| refused(error.to_string()))?;
            for certificate in certificates {
                let certificate = certificate.map_err(|error| refused(error.to_string()))?;
                roots.add(certificate).map_err(|error| refused(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(refused("it holds none".into()));
            }
        }
    }
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(builder.map_err(|error| error.to_string())?.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_out_over_tls_or_on_loopback() {
        let open = |url: &str| Http::open(Scheme::Vault, url, None).err().map(|error| error.to_string());
        for url in
            ["https://vault.example:8200", "http://127.0.0.1:8200", "http://[::1]:1", "http://localhost:1/"]
        {
            assert_eq!(open(url), None, "{url}");
        }
        for (url, why) in [
            ("http://vault.example:8200", "use https"),
            ("http://127.0.0.1.example:1", "use https"),
            ("ftp://127.0.0.1", "https://host:port"),
            ("vault.example", "https://host:port"),
        ] {
            assert!(open(url).is_some_and(|error| error.contains(why) && error.contains("[vault]")), "{url}");
        }
    }
}
