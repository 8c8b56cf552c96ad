//! Sends signed requests to one service of AWS.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::Mutex;

use super::credentials::{self, Credentials, Surroundings};
use super::error::AwsError;
use super::sigv4::{self, Scope, Unsigned};

/// The longest an ordinary call may take.
pub(super) const ANSWER_LIMIT: Duration = Duration::from_secs(30);
/// The longest it may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// After so long without a byte the kernel asks whether AWS is there: an invocation may take minutes to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Bytes of an answer, at most: what an invocation may return.
const MOST_ANSWER_BYTES: usize = 7 * 1024 * 1024;
/// How often a call that may succeed a little later is made.
const TRIES: u32 = 3;
/// The pause before the second try; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Where a service is and who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Region; absent means what environment or profile say.
    pub region: Option<String>,
    /// URL of the service in the place of AWS's own, as for a VPC endpoint or a test.
    pub endpoint: Option<String>,
    /// File with credentials in AWS's shared form; in the place of the whole chain, environment included.
    pub credentials_file: Option<std::path::PathBuf>,
}

/// A client of one service in one region.
pub(in crate::lambda) struct Aws {
    service: &'static str,
    region: String,
    endpoint: String,
    sts: String,
    http: Plain,
    surroundings: Surroundings,
    known: Mutex<Option<Credentials>>,
}

/// One call.
pub(in crate::lambda) struct Request {
    pub(in crate::lambda) method: &'static str,
    /// Parts of the path, not encoded.
    pub(in crate::lambda) path: Vec<String>,
    pub(in crate::lambda) query: Vec<(String, String)>,
    /// Names in lower case.
    pub(in crate::lambda) headers: Vec<(String, String)>,
    pub(in crate::lambda) body: Vec<u8>,
    /// The longest it may take.
    pub(in crate::lambda) limit: Duration,
    /// Whether it is made again where it may succeed a little later.
    pub(in crate::lambda) retried: bool,
}

impl Request {
    pub(in crate::lambda) fn new<const N: usize>(method: &'static str, path: [&str; N]) -> Self {
        Self {
            method,
            path: path.iter().map(|part| (*part).to_owned()).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: Vec::new(),
            limit: ANSWER_LIMIT,
            retried: true,
        }
    }

    pub(in crate::lambda) fn json(mut self, body: &Value) -> Self {
        self.body = body.to_string().into_bytes();
        self.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        self
    }

    pub(in crate::lambda) fn query(mut self, name: &str, value: impl Into<String>) -> Self {
        self.query.push((name.to_owned(), value.into()));
        self
    }

    pub(in crate::lambda) fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

/// An answer with a status of 200 to 299.
pub(in crate::lambda) struct Response {
    pub(in crate::lambda) status: u16,
    pub(in crate::lambda) headers: http::HeaderMap,
    pub(in crate::lambda) body: Bytes,
}

impl Response {
    pub(in crate::lambda) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub(in crate::lambda) fn json(&self) -> Result<Value, AwsError> {
        serde_json::from_slice(&self.body).map_err(|error| AwsError::Malformed(error.to_string()))
    }
}

impl Aws {
    /// A client with the credentials that this process's surroundings have.
    pub(in crate::lambda) fn new(service: &'static str, settings: &Settings) -> Result<Self, AwsError> {
        let surroundings = match &settings.credentials_file {
            Some(file) => Surroundings::of_process().with_only(file),
            None => Surroundings::of_process(),
        };
        let region = settings.region.clone().or_else(|| surroundings.region()).ok_or(AwsError::NoRegion)?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if region.is_empty() || !plain(&region) {
            return Err(AwsError::NoRegion);
        }
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        let of = |service: &str| format!("https://{service}.{region}.{suffix}");
        let endpoint = settings.endpoint.clone().unwrap_or_else(|| of(service));
        let endpoint = endpoint.trim_end_matches('/').to_owned();
        if endpoint.parse::<http::Uri>().ok().and_then(|uri| uri.authority().cloned()).is_none() {
            return Err(AwsError::Address(endpoint));
        }
        let sts = of("sts");
        Ok(Self {
            service,
            endpoint,
            sts,
            region,
            http: Plain::new()?,
            surroundings,
            known: Mutex::default(),
        })
    }

    /// Makes a call; tries again where that may help.
    pub(in crate::lambda) async fn call(&self, request: &Request) -> Result<Response, AwsError> {
        let mut pause = FIRST_PAUSE;
        for _ in 1..TRIES {
            match self.call_once(request).await {
                Err(error) if request.retried && error.is_transient() => {
                    tracing::debug!(%error, "a call to AWS is made again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                result => return result,
            }
        }
        self.call_once(request).await
    }

    async fn call_once(&self, request: &Request) -> Result<Response, AwsError> {
        let signed = self.sign(request).await?;
        let answer = tokio::time::timeout(request.limit, self.http.exchange(signed)).await;
        let answer =
            answer.map_err(|_| AwsError::Unreachable(format!("no answer within {:?}", request.limit)))??;
        if (200..300).contains(&answer.status) { Ok(answer) } else { Err(refusal(&answer)) }
    }

    async fn sign(&self, request: &Request) -> Result<http::Request<Full<Bytes>>, AwsError> {
        let credentials = self.credentials().await?;
        let time = timestamp(SystemTime::now());
        let encoded: Vec<String> = request.path.iter().map(|part| sigv4::encode(part, false)).collect();
        let path = format!("/{}", encoded.join("/"));
        let query = sigv4::query_string(&request.query);
        let url = format!("{}{path}{}{query}", self.endpoint, if query.is_empty() { "" } else { "?" });
        let uri: http::Uri = url.parse().map_err(|_| AwsError::Address(url.clone()))?;
        let host = uri.authority().ok_or_else(|| AwsError::Address(url.clone()))?.to_string();
        let mut headers = request.headers.clone();
        headers.push(("host".to_owned(), host));
        headers.push(("x-amz-date".to_owned(), time.clone()));
        if let Some(token) = &credentials.session {
            headers.push(("x-amz-security-token".to_owned(), token.clone()));
        }
        let unsigned = Unsigned {
            method: request.method,
            path: &path,
            query: &request.query,
            headers: &headers,
            body: &request.body,
        };
        let scope = Scope { region: &self.region, service: self.service, time: &time };
        headers.push(("authorization".to_owned(), sigv4::authorization(&unsigned, &scope, &credentials)));
        let mut built = http::Request::builder().method(request.method).uri(uri);
        for (name, value) in &headers {
            built = built.header(name, value);
        }
        built
            .body(Full::new(Bytes::from(request.body.clone())))
            .map_err(|error| AwsError::Malformed(format!("a request cannot be made: {error}")))
    }

    async fn credentials(&self) -> Result<Credentials, AwsError> {
        let mut known = self.known.lock().await;
        match &*known {
            Some(credentials) if credentials.are_fresh(SystemTime::now()) => Ok(credentials.clone()),
            _ => {
                let found = credentials::find(&self.surroundings, &self.http, &self.sts).await?;
                *known = Some(found.clone());
                Ok(found)
            }
        }
    }
}

/// The error that an answer tells, by header or body.
fn refusal(answer: &Response) -> AwsError {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    let text = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
    let code = answer.header("x-amzn-errortype").map(str::to_owned).or_else(|| text("__type"));
    // `Name:URL` and `namespace#Name` are both in use.
    let code = code.unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default().rsplit('#').next().unwrap_or_default();
    let message =
        text("message").or_else(|| text("Message")).or_else(|| text("errorMessage")).unwrap_or_default();
    let reason = text("Reason").map(|reason| format!(" ({reason})")).unwrap_or_default();
    AwsError::Refused {
        status: answer.status,
        code: if code.is_empty() { "error".to_owned() } else { code.to_owned() },
        message: format!("{message}{reason}"),
    }
}

/// Requests that are not signed: to AWS's other services and those of the machine.
#[derive(Clone)]
pub(super) struct Plain {
    client: Arc<Client<HttpsConnector<HttpConnector>, Full<Bytes>>>,
}

/// A request without a signature.
pub(super) struct PlainRequest<'a> {
    pub(super) method: &'a str,
    pub(super) url: &'a str,
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: Vec<u8>,
}

impl Plain {
    fn new() -> Result<Self, AwsError> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_LIMIT));
        tcp.set_keepalive(Some(KEEP_ALIVE));
        let connector = HttpsConnectorBuilder::new()
            .with_native_roots()
            .map_err(|error| AwsError::Certificates(error.to_string()))?
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        Ok(Self { client: Arc::new(Client::builder(TokioExecutor::new()).build(connector)) })
    }

    pub(super) async fn send(
        &self,
        request: PlainRequest<'_>,
        limit: Duration,
    ) -> Result<(u16, Bytes), AwsError> {
        let mut built = http::Request::builder().method(request.method).uri(request.url);
        for (name, value) in request.headers {
            built = built.header(*name, *value);
        }
        let built = built
            .body(Full::new(Bytes::from(request.body)))
            .map_err(|_| AwsError::Address(request.url.to_owned()))?;
        let answer = tokio::time::timeout(limit, self.exchange(built)).await;
        let answer = answer.map_err(|_| AwsError::Unreachable(format!("no answer within {limit:?}")))??;
        Ok((answer.status, answer.body))
    }

    async fn exchange(&self, request: http::Request<Full<Bytes>>) -> Result<Response, AwsError> {
        let answer =
            self.client.request(request).await.map_err(|error| AwsError::Unreachable(causes(&error)))?;
        let (parts, body) = answer.into_parts();
        let body = Limited::new(body, MOST_ANSWER_BYTES)
            .collect()
            .await
            .map_err(|error| AwsError::Unreachable(format!("the answer broke off: {error}")))?;
        Ok(Response { status: parts.status.as_u16(), headers: parts.headers, body: body.to_bytes() })
    }
}

/// An error with what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(&format!(": {cause}"));
        next = cause.source();
    }
    text
}

/// As in `20150830T123600Z`.
fn timestamp(time: SystemTime) -> String {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    format!("{year:04}{month:02}{day:02}T{:02}{:02}{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

/// Year, month and day of a count of days since 1970, in the proleptic Gregorian calendar.
fn date(days: u64) -> (u64, u64, u64) {
    let mut left = days;
    let mut year = 1970;
    while left >= days_of_year(year) {
        left -= days_of_year(year);
        year += 1;
    }
    let mut month = 1;
    while left >= days_of_month(year, month) {
        left -= days_of_month(year, month);
        month += 1;
    }
    (year, month, left + 1)
}

/// Days from 1970 to a date; `None` for a date that is none.
pub(super) fn days_since_epoch(year: u64, month: u64, day: u64) -> Option<u64> {
    let is_date = (1970..10_000).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of_month(year, month)).contains(&day);
    let before_year: u64 = (1970..year).map(days_of_year).sum();
    let before_month: u64 = (1..month).map(|month| days_of_month(year, month)).sum();
    is_date.then(|| before_year + before_month + day - 1)
}

fn is_leap(year: u64) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

fn days_of_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_of_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| timestamp(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "19700101T000000Z");
        assert_eq!(at(1_440_938_160), "20150830T123600Z");
        assert_eq!(at(1_709_210_096), "20240229T123456Z");
        for days in (0..40_000).step_by(13) {
            let (year, month, day) = date(days);
            assert_eq!(days_since_epoch(year, month, day), Some(days));
        }
        assert_eq!(days_since_epoch(2023, 2, 29), None);
        assert_eq!(days_since_epoch(2023, 13, 1), None);
    }

    #[test]
    fn errors_are_named_by_header_or_body() {
        let refused = |header: Option<&str>, body: &str| {
            let mut headers = http::HeaderMap::new();
            if let Some(value) = header {
                headers.insert("x-amzn-errortype", value.parse().unwrap());
            }
            let answer = Response { status: 429, headers, body: Bytes::from(body.to_owned()) };
            refusal(&answer)
        };
        let throttled = refused(
            Some("TooManyRequestsException:http://internal.amazon.com/"),
            r#"{"Type":"User","message":"Rate Exceeded.","Reason":"ConcurrentInvocationLimitExceeded"}"#,
        );
        assert!(throttled.is("TooManyRequestsException") && throttled.is_throttling());
        assert!(throttled.to_string().contains("ConcurrentInvocationLimitExceeded"), "{throttled}");
        assert!(refused(None, r#"{"__type":"com.amazon#ThrottlingException"}"#).is("ThrottlingException"));
        assert!(refused(None, "<html>").is("error"));
    }
}
