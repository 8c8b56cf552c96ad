//! A request as it is sent, and what a redirect makes of it.

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, LOCATION, PROXY_AUTHORIZATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use protocol::step::{HttpCall, StepError};
use serde_json::{Map, Value};

use crate::failure::{communication, configuration};
use crate::reference::resolve;

const FORM: &str = "application/x-www-form-urlencoded";

/// A request, ready to be sent: no header field for the host or the length is in it.
#[derive(Clone)]
pub struct Request {
    /// Its method.
    pub method: Method,
    /// Absolute, `http` or `https`.
    pub uri: Uri,
    /// Header fields; credentials among them are marked as sensitive.
    pub headers: HeaderMap,
    /// The body, perhaps empty.
    pub body: Bytes,
}

/// What came back, read to its end.
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// The request of a call, without its credentials.
    pub(crate) fn of(call: &HttpCall) -> Result<Self, StepError> {
        let method = Method::from_bytes(call.method.as_bytes())
            .map_err(|_| configuration(format!("{:?} is not an HTTP method", call.method)))?;
        let uri = http_uri(&call.uri)?;
        let mut headers = HeaderMap::new();
        for (name, value) in &call.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).ok().zip(HeaderValue::from_str(value).ok());
            let (name, value) = header.ok_or_else(|| {
                configuration(format!("the header {name:?} has a name or value that HTTP does not allow"))
            })?;
            headers.append(name, value);
        }
        let body = match &call.body {
            None => Bytes::new(),
            Some(Value::String(text)) => Bytes::copy_from_slice(text.as_bytes()),
            Some(Value::Object(fields)) if media_type(&headers) == FORM => form_of(fields)?.into(),
            Some(value) => {
                headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
                serde_json::to_vec(value).expect("a JSON value prints").into()
            }
        };
        Ok(Request { method, uri, headers, body })
    }

    /// A request for a token, with a form or JSON as its body.
    pub(crate) fn for_token(uri: Uri, fields: &[(&str, &str)], json: bool) -> Self {
        let mut headers = HeaderMap::new();
        let (kind, body) = if json {
            let object: Map<String, Value> =
                fields.iter().map(|(key, value)| ((*key).to_owned(), Value::from(*value))).collect();
            ("application/json", serde_json::to_vec(&object).expect("a JSON object prints"))
        } else {
            (FORM, form(fields.iter().copied()).into_bytes())
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        Request { method: Method::POST, uri, headers, body: body.into() }
    }

    /// A request for a document.
    pub(crate) fn get(uri: Uri) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::ACCEPT, HeaderValue::from_static("application/json"));
        Request { method: Method::GET, uri, headers, body: Bytes::new() }
    }

    /// Shows credentials.
    pub(crate) fn authorize(&mut self, value: &str) -> Result<(), StepError> {
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| configuration("the credentials hold characters that HTTP does not allow"))?;
        value.set_sensitive(true);
        self.headers.insert(AUTHORIZATION, value);
        Ok(())
    }

    /// Goes where a reply redirects to, as RFC 9110 §15.4 says: 303 becomes GET, and so do 301 and 302 after POST.
    /// Whatever stands for the caller stays with its origin.
    pub(crate) fn follow(&mut self, reply: &Reply) -> Result<(), StepError> {
        let to = reply.headers.get(LOCATION).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
        let next = to.and_then(|to| resolve(&self.uri, to)).ok_or_else(|| {
            let to = to.unwrap_or_default();
            communication(
                502,
                format!("{} redirects to {to:?}, which is no address for HTTP", place(&self.uri)),
            )
        })?;
        let to_get = reply.status == StatusCode::SEE_OTHER
            || (self.method == Method::POST && matches!(reply.status.as_u16(), 301 | 302));
        if to_get && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Bytes::new();
            self.headers.remove(CONTENT_TYPE);
        }
        if origin(&next) != origin(&self.uri) {
            for name in [AUTHORIZATION, COOKIE, PROXY_AUTHORIZATION] {
                self.headers.remove(name);
            }
        }
        self.uri = next;
        Ok(())
    }
}

/// An absolute URI of HTTP, without user information.
pub(crate) fn http_uri(text: &str) -> Result<Uri, StepError> {
    let uri: Uri = text
        .parse()
        .map_err(|error| configuration(format!("{text:?} is not an address for HTTP: {error}")))?;
    match (uri.scheme_str(), uri.host()) {
        (Some("http" | "https"), Some(host)) if !host.is_empty() => Ok(uri),
        _ => Err(configuration(format!("{text:?} is not an address for HTTP"))),
    }
}

/// Scheme, host and port: what credentials are for.
pub(crate) fn origin(uri: &Uri) -> (String, String, u16) {
    let scheme = uri.scheme_str().unwrap_or("http").to_owned();
    let port = uri.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
    (scheme, uri.host().unwrap_or_default().to_ascii_lowercase(), port)
}

/// A URI without user information and query: what may stand in an error.
pub fn place(uri: &Uri) -> String {
    let authority = uri.authority().map_or("", |authority| authority.as_str());
    let authority = authority.rsplit('@').next().unwrap_or_default();
    format!("{}://{authority}{}", uri.scheme_str().unwrap_or("http"), uri.path())
}

/// The media type that the header fields state, lower-case, without parameters.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn form_of(fields: &Map<String, Value>) -> Result<String, StepError> {
    let mut pairs = Vec::new();
    for (key, value) in fields {
        let many = match value {
            Value::Array(items) => items.iter().collect(),
            one => vec![one],
        };
        for value in many {
            pairs.push((key.as_str(), match value {
                Value::String(text) => text.clone(),
                Value::Null => String::new(),
                Value::Bool(_) | Value::Number(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => {
                    return Err(configuration(format!(
                        "`{key}` of the body is a list or mapping within, which a form cannot hold; write it as text"
                    )));
                }
            }));
        }
    }
    Ok(form(pairs.iter().map(|(key, value)| (*key, value.as_str()))))
}

/// `application/x-www-form-urlencoded`, as the URL standard has it.
pub(crate) fn form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        if !out.is_empty() {
            out.push('&');
        }
        encode(key, &mut out);
        out.push('=');
        encode(value, &mut out);
    }
    out
}

pub(crate) fn encode(text: &str, out: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'*' | b'-' | b'.' | b'_' => out.push(byte as char),
            b' ' => out.push('+'),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn call(body: Value, kind: &str) -> HttpCall {
        HttpCall {
            method: "POST".into(),
            uri: "http://host/path".into(),
            headers: vec![("Content-Type".into(), kind.into())],
            body: Some(body),
            output: Default::default(),
            redirect: true,
            authentication: None,
        }
    }

    #[test]
    fn an_object_becomes_a_form_where_the_content_type_says_so() {
        let body = json!({ "a b": "c&d=é", "n": 7, "many": [1, "x"], "none": null, "yes": true });
        let request = Request::of(&call(body, "application/x-www-form-urlencoded; charset=utf-8")).unwrap();
        assert_eq!(request.body, "a+b=c%26d%3D%C3%A9&n=7&many=1&many=x&none=&yes=true");
        let nested = Request::of(&call(json!({ "deep": { "a": 1 } }), FORM)).err().unwrap();
        assert!(nested.detail.contains("`deep`"), "{}", nested.detail);
        let text = Request::of(&call(json!("a=b"), FORM)).unwrap();
        assert_eq!(text.body, "a=b");
        let json = Request::of(&call(json!({ "a": 1 }), "application/vnd.x+json")).unwrap();
        assert_eq!(json.body, r#"{"a":1}"#);
    }

    #[test]
    fn what_stands_for_the_caller_stays_with_its_origin() {
        let reply = |to: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_str(to).unwrap());
            Reply { status: StatusCode::FOUND, headers, body: Bytes::new() }
        };
        let mut request = Request::of(&call(json!({}), "application/json")).unwrap();
        request.authorize("Bearer x").unwrap();
        request.follow(&reply("/other")).unwrap();
        assert_eq!(
            (request.method.as_str(), request.uri.to_string()),
            ("GET", "http://host/other".to_owned())
        );
        assert!(request.body.is_empty() && request.headers.contains_key(AUTHORIZATION));
        for away in ["http://host:81/", "https://host/", "http://evil/"] {
            let mut gone = request.clone();
            gone.follow(&reply(away)).unwrap();
            assert!(!gone.headers.contains_key(AUTHORIZATION), "{away}");
        }
    }
}
