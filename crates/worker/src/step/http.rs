//! `call: http` in mode 0: one request, its redirects, its answer as the task's output.

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode};
use protocol::step::{HttpAuthentication, HttpCall, HttpOutput, StepError};
use sandbox::egress::{DenialReason, Dialer};
use serde_json::{Map, Value, json};
use url::Url;

use crate::error::{WorkerError, authorization, communication, configuration};
use crate::http_client::{GuardedClient, Refused, body, guarded_client, read_limited};

/// Largest answer.
const MAX_ANSWER_BYTES: usize = 8 * 1024 * 1024;
/// Redirects that are followed.
const MAX_REDIRECTS: usize = 10;
/// Bytes of an answer that an error's detail quotes.
const QUOTED_BYTES: usize = 512;

/// Sends the requests of documents.
pub(super) struct HttpCaller {
    client: GuardedClient,
}

impl HttpCaller {
    pub(super) fn new(dialer: Dialer) -> Result<Self, WorkerError> {
        Ok(HttpCaller { client: guarded_client(dialer)? })
    }

    /// Sends a request and reads the answer.
    ///
    /// # Errors
    /// The request is malformed, the address is private, the other side failed or answered with an error status.
    pub(super) async fn call(&self, call: &HttpCall) -> Result<Value, StepError> {
        let mut request = Outgoing::of(call)?;
        let first_origin = request.url.origin();
        for _ in 0..=MAX_REDIRECTS {
            let response = self
                .client
                .request(request.to_http()?)
                .await
                .map_err(|error| unsent(&request.url, &error))?;
            let status = response.status();
            let (parts, incoming) = response.into_parts();
            if call.redirect && status.is_redirection() && parts.headers.contains_key(LOCATION) {
                request.follow(status, &parts.headers, &first_origin)?;
                continue;
            }
            let content = read_limited(incoming, MAX_ANSWER_BYTES).await.map_err(|why| {
                communication(502, format!("the answer of {} broke off: {why}", place(&request.url)))
            })?;
            return answer(call, &request, status, &parts.headers, &content);
        }
        Err(communication(508, format!("{} redirected more than {MAX_REDIRECTS} times", place(&request.url))))
    }
}

/// A request on its way, perhaps through redirects.
struct Outgoing {
    method: Method,
    url: Url,
    headers: HeaderMap,
    content: Bytes,
}

impl Outgoing {
    fn of(call: &HttpCall) -> Result<Self, StepError> {
        let method = Method::from_bytes(call.method.as_bytes())
            .map_err(|_| configuration(format!("{:?} is not an HTTP method", call.method)))?;
        let url = http_url(&call.uri)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (name, value) = header.ok_or_else(|| {
                configuration(format!("the header {name:?} has a name or value that HTTP does not allow"))
            })?;
            headers.append(name, value);
        }
        if let Some(authentication) = &call.authentication {
            headers.insert(AUTHORIZATION, credentials(authentication)?);
        }
        let content = match &call.body {
            None => Bytes::new(),
            Some(Value::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(value) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                serde_json::to_vec(value).expect("a JSON value prints").into()
            }
        };
        Ok(Outgoing { method, url, headers, content })
    }

    fn to_http(&self) -> Result<Request<crate::http_client::Body>, StepError> {
        let mut request = Request::new(body(self.content.clone()));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.url.as_str().parse().map_err(|error| {
            configuration(format!("{} is not an address for HTTP: {error}", place(&self.url)))
        })?;
        *request.headers_mut() = self.headers.clone();
        Ok(request)
    }

    /// RFC 9110 §15.4: 303 becomes GET, and so do 301 and 302 after POST; credentials stay with their origin.
    fn follow(
        &mut self,
        status: StatusCode,
        answer: &HeaderMap,
        origin: &url::Origin,
    ) -> Result<(), StepError> {
        let to = answer.get(LOCATION).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let next = self.url.join(to).map_err(|_| {
            communication(502, format!("{} redirects to {to:?}, which is no address", place(&self.url)))
        })?;
        self.url = http_url(next.as_str())?;
        let to_get = status == StatusCode::SEE_OTHER
            || (self.method == Method::POST && matches!(status.as_u16(), 301 | 302));
        if to_get {
            self.method = Method::GET;
            self.content = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
        }
        if self.url.origin() != *origin {
            for name in ["authorization", "cookie", "proxy-authorization"] {
                self.headers.remove(name);
            }
        }
        Ok(())
    }
}

fn http_url(text: &str) -> Result<Url, StepError> {
    let url =
        Url::parse(text).map_err(|error| configuration(format!("{text:?} is not an address: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(configuration(format!(
            "{text:?} is not an address for HTTP: it starts with {:?}",
            url.scheme()
        )));
    }
    Ok(url)
}

fn credentials(authentication: &HttpAuthentication) -> Result<HeaderValue, StepError> {
    let text = match authentication {
        HttpAuthentication::Basic { username, password } => {
            format!("Basic {}", Base64::encode_string(format!("{username}:{password}").as_bytes()))
        }
        HttpAuthentication::Bearer { token } => format!("Bearer {token}"),
    };
    let mut value = HeaderValue::from_str(&text)
        .map_err(|_| configuration("the credentials hold characters that HTTP does not allow"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn answer(
    call: &HttpCall,
    request: &Outgoing,
    status: StatusCode,
    headers: &HeaderMap,
    content: &[u8],
) -> Result<Value, StepError> {
    let accepted = status.is_success() || (call.redirect && status.is_redirection());
    if !accepted {
        let quoted = String::from_utf8_lossy(&content[..content.len().min(QUOTED_BYTES)]).trim().to_owned();
        let said = if quoted.is_empty() { String::new() } else { format!(": {quoted}") };
        return Err(communication(
            status.as_u16(),
            format!("{} {} answered {status}{said}", request.method, place(&request.url)),
        ));
    }
    Ok(match call.output {
        HttpOutput::Content => parsed(headers, content),
        HttpOutput::Raw => Value::String(Base64::encode_string(content)),
        HttpOutput::Response => json!({
            "request": {
                "method": request.method.as_str(),
                "uri": place(&request.url),
                "headers": header_values(&request.headers),
            },
            "statusCode": status.as_u16(),
            "headers": header_values(headers),
            "content": parsed(headers, content),
        }),
    })
}

/// JSON where the answer says that it is, or where it parses as an object or array; else text.
fn parsed(headers: &HeaderMap, content: &[u8]) -> Value {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let says_json = kind.split(';').next().is_some_and(|kind| kind.trim().ends_with("json"));
    let structured =
        content.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['));
    if (says_json || structured)
        && let Ok(value) = serde_json::from_slice(content)
    {
        return value;
    }
    Value::String(String::from_utf8_lossy(content).into_owned())
}

fn header_values(headers: &HeaderMap) -> Value {
    let mut map = Map::new();
    for (name, value) in headers {
        if !value.is_sensitive() {
            map.insert(
                name.as_str().to_owned(),
                String::from_utf8_lossy(value.as_bytes()).into_owned().into(),
            );
        }
    }
    Value::Object(map)
}

fn unsent(url: &Url, error: &hyper_util::client::legacy::Error) -> StepError {
    if let Some(Refused(denial)) = refusal(error) {
        return match denial.reason {
            DenialReason::PrivateAddress(..) => authorization(format!(
                "{denial}; the operator can allow it with --allow-private {}:{}",
                denial.host, denial.port
            )),
            _ => communication(502, format!("{} could not be asked: {denial}", place(url))),
        };
    }
    // The innermost cause says it best.
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    communication(502, format!("{} could not be asked: {cause}", place(url)))
}

/// The guard's refusal within an error, if that is what it is.
fn refusal<'a>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a Refused> {
    let mut cause = Some(error);
    while let Some(error) = cause {
        let inner = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        if let Some(refused) = inner.and_then(|inner| inner.downcast_ref()) {
            return Some(refused);
        }
        cause = error.source();
    }
    None
}

/// The address without user information and query: what may stand in an error.
fn place(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    shown.to_string()
}
