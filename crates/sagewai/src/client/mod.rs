//! The client of the REST API: one connection, the token, problems turned into failures.

mod events;
mod transport;

use bytes::{Bytes, BytesMut};
use control::api::model::Page;
use control::api::problem::Problem;
use http::{Method, StatusCode, Uri, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use crate::config::Client as Settings;
use crate::exit::Exit;
use crate::failure::Failure;

pub(crate) use events::ServerEvents;
use transport::Transport;

/// Bytes of an answer that is read whole.
const ANSWER_LIMIT_BYTES: usize = 64 << 20;
/// Rows asked for with each page.
const PAGE_ROWS: usize = 200;

/// A server, and who we are to it.
pub(crate) struct Client {
    base: String,
    token: Zeroizing<String>,
    transport: Transport,
}

impl Client {
    /// A client for the configured server; nothing is sent yet.
    pub(crate) fn new(settings: &Settings) -> Result<Client, Failure> {
        let base = settings.server.trim_end_matches('/').to_owned();
        let uri: Uri = base.parse().map_err(|error| {
            Failure::usage(format!("`{base}` is not a URL"))
                .because(&error)
                .hint("it looks like http://127.0.0.1:7420")
        })?;
        if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
            return Err(Failure::usage(format!("`{base}` is not an http or https URL"))
                .hint("it looks like http://127.0.0.1:7420"));
        }
        let token = settings.read_token()?;
        Ok(Client { base, token, transport: Transport::new(uri.scheme_str() == Some("https"))? })
    }

    /// The server's URL, for messages.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(Method::GET, path, None, &[]).await
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.post_with(path, body, &[]).await
    }

    pub(crate) async fn post_with<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
        headers: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).expect("requests are plain data");
        self.json(Method::POST, path, Some(body.into()), headers).await
    }

    /// A request whose answer has no body.
    pub(crate) async fn act(&self, method: Method, path: &str) -> Result<(), Failure> {
        self.send(method, path, None, &[]).await.map(drop)
    }

    /// A POST without a body.
    pub(crate) async fn order<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.json(Method::POST, path, None, &[]).await
    }

    /// All rows of a list, or the first `limit`. `path` may have a query.
    pub(crate) async fn list<T: DeserializeOwned>(
        &self,
        path: &str,
        limit: usize,
    ) -> Result<Vec<T>, Failure> {
        let mut rows: Vec<T> = Vec::new();
        let mut cursor: Option<String> = None;
        let separator = match path.split_once('?') {
            None => "?",
            Some((_, "")) => "",
            Some(_) => "&",
        };
        loop {
            let wanted = PAGE_ROWS.min(limit - rows.len());
            let after = cursor.map_or_else(String::new, |cursor| format!("&cursor={cursor}"));
            let page: Page<T> = self.get(&format!("{path}{separator}limit={wanted}{after}")).await?;
            rows.extend(page.items);
            cursor = page.next;
            if cursor.is_none() || rows.len() >= limit {
                rows.truncate(limit);
                return Ok(rows);
            }
        }
    }

    /// A stream of server-sent events.
    pub(crate) async fn events(&self, path: &str) -> Result<ServerEvents, Failure> {
        let body = self.send(Method::GET, path, None, &[("accept", "text/event-stream")]).await?;
        Ok(ServerEvents::new(body))
    }

    /// The bytes of an answer, in parts as they come.
    pub(crate) async fn download(
        &self,
        path: &str,
        mut part: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut body = self.send(Method::GET, path, None, &[]).await?;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.cut_off(&error))?;
            if let Some(data) = frame.data_ref() {
                part(data)?;
            }
        }
        Ok(())
    }

    async fn json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<T, Failure> {
        let answer = self.send(method, path, body, headers).await?;
        let bytes = self.whole(answer).await?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::failed(format!("the answer of {} is not what this program knows", self.base))
                .because(&error)
                .hint("compare the versions: sagewai --version, sagewai doctor")
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Bytes>,
        headers: &[(&str, &str)],
    ) -> Result<Incoming, Failure> {
        let mut request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", &*self.token))
            .header(header::USER_AGENT, concat!("sagewai/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.unwrap_or_default().into()).map_err(|error| {
            Failure::usage("a value cannot be sent")
                .because(&error)
                .hint("use visible ASCII characters in ids, keys and tokens")
        })?;
        let response = self.transport.send(request).await.map_err(|error| {
            // The client's own words say no more than these.
            let cause = std::error::Error::source(&error).unwrap_or(&error);
            Failure::new(Exit::Unreachable, format!("cannot reach the server at {}", self.base))
                .because(cause)
                .hint("start one with `sagewai dev`, or name another with --server URL")
        })?;
        if response.status().is_success() {
            return Ok(response.into_body());
        }
        let status = response.status();
        let bytes = self.whole(response.into_body()).await?;
        Err(refusal(status, &bytes))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, Failure> {
        let mut limited = Limited::new(body, ANSWER_LIMIT_BYTES);
        let mut bytes = BytesMut::new();
        while let Some(frame) = limited.frame().await {
            let frame = frame.map_err(|error| {
                if error.is::<LengthLimitError>() {
                    Failure::failed(format!("the answer is larger than {} MiB", ANSWER_LIMIT_BYTES >> 20))
                        .hint("ask for less")
                } else {
                    self.cut_off(&*error)
                }
            })?;
            if let Some(data) = frame.data_ref() {
                bytes.extend_from_slice(data);
            }
        }
        Ok(bytes.freeze())
    }

    fn cut_off(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        Failure::new(Exit::Unreachable, format!("the connection to {} was cut", self.base))
            .because(error)
            .hint("try again")
    }
}

fn refusal(status: StatusCode, bytes: &[u8]) -> Failure {
    match serde_json::from_slice::<Problem>(bytes) {
        Ok(problem) => Failure::problem(problem),
        Err(_) => Failure::failed(format!("the server answered {status} without a problem"))
            .hint("is --server the URL of a sagewai server, and no proxy in between?"),
    }
}

/// `text` for a path segment or a query value (RFC 3986: all but unreserved characters are percent-encoded).
pub(crate) fn encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::encoded;

    #[test]
    fn what_is_not_unreserved_is_encoded() {
        assert_eq!(encoded("a/b c=é"), "a%2Fb%20c%3D%C3%A9");
    }
}
