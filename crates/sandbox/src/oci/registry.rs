//! The client's half of the OCI distribution specification 1.1: manifests and blobs by name or digest, with the two ways of
//! authentication that registries have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, LOCATION, USER_AGENT, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use serde::Deserialize;
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroizing;

use super::challenge::{self, Challenge};
use super::connect::{self, HttpClient};
use super::credentials::Credentials;
use super::digest::Digest;
use super::error::ImageError;
use super::limits::{ANSWER_LIMIT, MAX_MANIFEST_BYTES, MAX_REDIRECTS};
use super::manifest;
use super::reference::{Reference, Version};
use super::settings::ImageSettings;
use crate::egress::{DenialReason, Dialer, Host, OperatorPolicy, refusal};

/// Tokens that are remembered; then all are forgotten.
const MAX_TOKENS: usize = 256;
/// How this client names itself.
const AGENT: &str = concat!("sagewai/", env!("CARGO_PKG_VERSION"));

/// Talks to registries.
pub(super) struct Registry {
    /// Or why there is none: not every worker pulls.
    client: Result<HttpClient, String>,
    insecure: Vec<String>,
    credentials: Credentials,
    /// Values of `Authorization`, by registry and repository.
    tokens: Mutex<HashMap<(String, String), HeaderValue>>,
}

impl Registry {
    pub(super) fn new(settings: &ImageSettings) -> Result<Self, ImageError> {
        let with_port = |registry: &String| {
            let has_port = registry.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
            if has_port { registry.clone() } else { format!("{registry}:80") }
        };
        let listed = settings.allow_private.iter().cloned().chain(settings.insecure.iter().map(with_port));
        let policy =
            OperatorPolicy::parse(listed).map_err(|error| ImageError::Settings(error.to_string()))?;
        let client = connect::client(Dialer::new(policy)).map_err(|error| {
            format!("there are no root certificates to check registries by: {error}; install ca-certificates")
        });
        let credentials =
            settings.credentials.as_deref().map_or_else(|| Ok(Credentials::default()), Credentials::read)?;
        Ok(Self { client, insecure: settings.insecure.clone(), credentials, tokens: Mutex::default() })
    }

    /// The manifest or index, checked by its digest where the reference has one, and its digest.
    pub(super) async fn manifest(&self, reference: &Reference) -> Result<(Bytes, Digest), ImageError> {
        let name = match &reference.version {
            Version::Tag(tag) => tag.clone(),
            Version::Digest(digest) => digest.to_string(),
        };
        let response = self.ask(reference, &format!("manifests/{name}"), Some(manifest::ACCEPT)).await?;
        let bytes = self.whole(reference, response.into_body(), MAX_MANIFEST_BYTES).await?;
        let found = Digest::of(&bytes);
        match reference.version {
            Version::Digest(expected) if expected != found => {
                Err(mismatch(reference, "the manifest", expected, found))
            }
            _ => Ok((bytes, found)),
        }
    }

    /// A small blob, checked by its digest.
    pub(super) async fn small_blob(
        &self,
        reference: &Reference,
        digest: Digest,
        most: usize,
    ) -> Result<Bytes, ImageError> {
        let response = self.ask(reference, &format!("blobs/{digest}"), None).await?;
        let bytes = self.whole(reference, response.into_body(), most).await?;
        let found = Digest::of(&bytes);
        if found == digest { Ok(bytes) } else { Err(mismatch(reference, "the configuration", digest, found)) }
    }

    /// A blob as it comes: not checked.
    pub(super) async fn blob(&self, reference: &Reference, digest: Digest) -> Result<Incoming, ImageError> {
        Ok(self.ask(reference, &format!("blobs/{digest}"), None).await?.into_body())
    }

    /// The next bytes of a body; `None` at its end.
    pub(super) async fn next(
        &self,
        reference: &Reference,
        body: &mut Incoming,
    ) -> Result<Option<Bytes>, ImageError> {
        let unreachable = |why: String| ImageError::Unreachable { registry: reference.registry.clone(), why };
        loop {
            let frame = timeout(ANSWER_LIMIT, body.frame())
                .await
                .map_err(|_| unreachable(format!("it sent nothing for {} s", ANSWER_LIMIT.as_secs())))?;
            match frame {
                None => return Ok(None),
                Some(Err(error)) => return Err(unreachable(connect::cause(&error))),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) if !data.is_empty() => return Ok(Some(data)),
                    _ => {}
                },
            }
        }
    }

    async fn whole(
        &self,
        reference: &Reference,
        mut body: Incoming,
        most: usize,
    ) -> Result<Bytes, ImageError> {
        let mut bytes = Vec::new();
        while let Some(more) = self.next(reference, &mut body).await? {
            if bytes.len() + more.len() > most {
                return Err(ImageError::Unusable {
                    image: reference.to_string(),
                    why: format!(
                        "its registry answers with more than {most} bytes where a small document belongs"
                    ),
                });
            }
            bytes.extend_from_slice(&more);
        }
        Ok(bytes.into())
    }

    /// Asks for something of the reference's repository, with authentication as the registry wants it.
    async fn ask(
        &self,
        reference: &Reference,
        path: &str,
        accept: Option<&'static str>,
    ) -> Result<Response<Incoming>, ImageError> {
        let scheme = if self.is_plain(&reference.registry) { "http" } else { "https" };
        let url = format!("{scheme}://{}/v2/{}/{path}", reference.authority(), reference.repository);
        let url = Url::parse(&url).map_err(|error| unreachable(reference, error.to_string()))?;
        let key = (reference.registry.clone(), reference.repository.clone());
        let known = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        let response = self.follow(reference, url.clone(), accept, known).await?;
        if response.status() != StatusCode::UNAUTHORIZED {
            return self.judge(reference, response);
        }
        let authorization = self.authorize(reference, &response).await?;
        let response = self.follow(reference, url, accept, Some(authorization.clone())).await?;
        if response.status().is_success() {
            let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
            if tokens.len() >= MAX_TOKENS {
                tokens.clear();
            }
            tokens.insert(key, authorization);
        }
        self.judge(reference, response)
    }

    fn judge(
        &self,
        reference: &Reference,
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>, ImageError> {
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND => Err(ImageError::NotFound(reference.to_string())),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(unauthorized(reference)),
            StatusCode::TOO_MANY_REQUESTS => {
                Err(unreachable(reference, "it limits how often it may be asked (429)"))
            }
            status => Err(unreachable(reference, format!("it answered with status {}", status.as_u16()))),
        }
    }

    /// One request, redirects followed. Credentials never go to another host, and nothing goes from HTTPS to HTTP.
    async fn follow(
        &self,
        reference: &Reference,
        mut url: Url,
        accept: Option<&'static str>,
        mut authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, ImageError> {
        for _ in 0..=MAX_REDIRECTS {
            let response = self.send(reference, &url, accept, authorization.clone()).await?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
            let next = location.and_then(|location| url.join(location).ok());
            let next = next.ok_or_else(|| unreachable(reference, "it redirects to nowhere"))?;
            let is_allowed = next.scheme() == "https" || (next.scheme() == "http" && url.scheme() == "http");
            if !is_allowed {
                return Err(unreachable(reference, "it redirects from HTTPS to something less safe"));
            }
            if next.origin() != url.origin() {
                authorization = None;
            }
            url = next;
        }
        Err(unreachable(reference, "it redirects in circles"))
    }

    async fn send(
        &self,
        reference: &Reference,
        url: &Url,
        accept: Option<&'static str>,
        authorization: Option<HeaderValue>,
    ) -> Result<Response<Incoming>, ImageError> {
        let mut request = Request::get(url.as_str()).header(USER_AGENT, AGENT);
        if let Some(accept) = accept {
            request = request.header(ACCEPT, accept);
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        let request =
            request.body(Full::default()).map_err(|error| unreachable(reference, error.to_string()))?;
        let client = self.client.as_ref().map_err(|why| ImageError::Settings(why.clone()))?;
        match timeout(ANSWER_LIMIT, client.request(request)).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(match refusal(&error) {
                Some(denial) if matches!(denial.reason, DenialReason::PrivateAddress(..)) => {
                    ImageError::NotAllowed { registry: reference.registry.clone(), why: denial.to_string() }
                }
                Some(denial) => unreachable(reference, denial.to_string()),
                None => unreachable(reference, connect::cause(&error)),
            }),
            Err(_) => Err(unreachable(reference, format!("no answer in {} s", ANSWER_LIMIT.as_secs()))),
        }
    }

    /// What the registry's challenge asks for.
    async fn authorize(
        &self,
        reference: &Reference,
        refusal: &Response<Incoming>,
    ) -> Result<HeaderValue, ImageError> {
        let basic =
            self.credentials.of(&reference.registry).and_then(|encoded| secret_header("Basic", encoded));
        let challenges = refusal.headers().get_all(WWW_AUTHENTICATE);
        let challenge = challenges.iter().filter_map(|value| challenge::parse(value.to_str().ok()?)).next();
        match challenge {
            Some(Challenge::Bearer { realm, service, scope }) => {
                let mut url = Url::parse(&realm)
                    .map_err(|_| unreachable(reference, "it names a token server that is no URL"))?;
                let is_allowed =
                    url.scheme() == "https" || (url.scheme() == "http" && self.is_plain(&reference.registry));
                if !is_allowed {
                    return Err(unreachable(reference, "its token server is not on HTTPS"));
                }
                let scope = scope.unwrap_or_else(|| format!("repository:{}:pull", reference.repository));
                url.query_pairs_mut()
                    .extend_pairs(service.map(|service| ("service", service)))
                    .append_pair("scope", &scope);
                let response = self.follow(reference, url, None, basic).await?;
                let response = self.judge(reference, response).map_err(|error| match error {
                    ImageError::NotFound(_) => unauthorized(reference),
                    error => error,
                })?;
                let answer = Zeroizing::new(
                    self.whole(reference, response.into_body(), MAX_MANIFEST_BYTES).await?.to_vec(),
                );
                let answer: TokenAnswer = serde_json::from_slice(&answer)
                    .map_err(|_| unreachable(reference, "its token server answers with no token"))?;
                let token = answer.token.or(answer.access_token);
                token
                    .and_then(|token| secret_header("Bearer", &token))
                    .ok_or_else(|| unreachable(reference, "its token server answers with no token"))
            }
            Some(Challenge::Basic) => basic.ok_or_else(|| unauthorized(reference)),
            None => Err(unauthorized(reference)),
        }
    }

    /// Whether a registry is spoken to in plain HTTP: one of this machine, or one that the operator lists.
    fn is_plain(&self, registry: &str) -> bool {
        let host = registry.rsplit_once(':').map_or(registry, |(host, _)| host);
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let is_loopback = match Host::parse(host) {
            Ok(Host::Address(address)) => is_loopback(address),
            Ok(Host::Name(name)) => name == "localhost",
            Err(_) => false,
        };
        is_loopback || self.insecure.iter().any(|listed| listed == registry)
    }
}

#[derive(Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: Option<Zeroizing<String>>,
    #[serde(default)]
    access_token: Option<Zeroizing<String>>,
}

fn is_loopback(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => address.is_loopback(),
        IpAddr::V6(address) => address.is_loopback(),
    }
}

fn secret_header(scheme: &str, value: &str) -> Option<HeaderValue> {
    let text = Zeroizing::new(format!("{scheme} {value}"));
    let mut header = HeaderValue::from_str(&text).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn unreachable(reference: &Reference, why: impl Into<String>) -> ImageError {
    ImageError::Unreachable { registry: reference.registry.clone(), why: why.into() }
}

fn unauthorized(reference: &Reference) -> ImageError {
    ImageError::Unauthorized(reference.to_string(), reference.registry.clone())
}

pub(super) fn mismatch(
    reference: &Reference,
    what: &'static str,
    expected: Digest,
    found: Digest,
) -> ImageError {
    ImageError::Digest {
        image: reference.to_string(),
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    }
}
