//! The Runtime API of AWS Lambda (version 2018-06-01): take an invocation, answer it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::lambda::MAX_INVOCATION_BYTES;

use super::http::{self, Response};

/// Where the platform says that its API is: `host:port`, an address.
const ADDRESS: &str = "AWS_LAMBDA_RUNTIME_API";
const VERSION: &str = "2018-06-01";
/// Longest invocation that is read; it is answered with an error where it is longer than ours are.
const MOST_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;
/// Longest answer of the platform to an answer of ours.
const MOST_STATUS_BYTES: usize = 64 * 1024;
/// Longest request id: they are UUIDs.
const MOST_ID_BYTES: usize = 128;

/// The platform's side.
pub(super) struct RuntimeApi {
    address: SocketAddr,
}

/// One invocation of the function.
pub(super) struct Invoked {
    request: String,
    /// AWS's tenant, where the function isolates tenants.
    pub(super) tenant: Option<String>,
    /// What is left until AWS ends it, as of when it was taken.
    pub(super) left: Duration,
    /// What it was invoked with, of at most [`MAX_INVOCATION_BYTES`]; `None` if it is longer.
    pub(super) payload: Option<Vec<u8>>,
}

impl RuntimeApi {
    /// The API of the execution environment that this process is in.
    pub(super) fn of_environment() -> io::Result<Self> {
        let text = std::env::var(ADDRESS).unwrap_or_default();
        // A static program must not ask a resolver; the platform gives an address, the emulator may say `localhost`.
        let literal = text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let address = literal.as_deref().unwrap_or(&text).parse().map_err(|_| {
            let message =
                format!("{ADDRESS} is {text:?}, which is no address and port: this is no Lambda function");
            io::Error::new(io::ErrorKind::InvalidInput, message)
        })?;
        Ok(RuntimeApi { address })
    }

    /// Waits for the next invocation.
    pub(super) fn next(&self) -> io::Result<Invoked> {
        let response = self.exchange("GET", "next", &[], &[], MOST_PAYLOAD_BYTES)?;
        let request = response.header("lambda-runtime-aws-request-id").unwrap_or_default().to_owned();
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if response.status != 200
            || request.is_empty()
            || request.len() > MOST_ID_BYTES
            || !request.bytes().all(plain)
        {
            let message = format!("the Runtime API gave no invocation (status {})", response.status);
            return Err(io::Error::other(message));
        }
        Ok(Invoked {
            request,
            tenant: response.header("lambda-runtime-aws-tenant-id").map(str::to_owned),
            left: left(response.header("lambda-runtime-deadline-ms")),
            payload: (response.body.len() <= MAX_INVOCATION_BYTES).then_some(response.body),
        })
    }

    /// Answers an invocation.
    pub(super) fn respond(&self, invoked: &Invoked, body: &[u8]) -> io::Result<()> {
        let path = format!("{}/response", invoked.request);
        let headers = [("Content-Type", "application/json")];
        self.exchange("POST", &path, &headers, body, MOST_STATUS_BYTES).and_then(accepted)
    }

    /// Answers an invocation with an error of type `kind`.
    pub(super) fn fail(&self, invoked: &Invoked, kind: &str, message: &str) -> io::Result<()> {
        let path = format!("{}/error", invoked.request);
        let body =
            serde_json::json!({ "errorType": kind, "errorMessage": message, "stackTrace": [] }).to_string();
        let headers = [
            ("Content-Type", "application/vnd.aws.lambda.error+json"),
            ("Lambda-Runtime-Function-Error-Type", kind),
        ];
        self.exchange("POST", &path, &headers, body.as_bytes(), MOST_STATUS_BYTES).and_then(accepted)
    }

    fn exchange(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
        most: usize,
    ) -> io::Result<Response> {
        let path = format!("/{VERSION}/runtime/invocation/{path}");
        http::exchange(self.address, method, &path, headers, body, most)
    }
}

fn accepted(response: Response) -> io::Result<()> {
    match response.status {
        200..300 => Ok(()),
        status => Err(io::Error::other(format!("the Runtime API did not take the answer (status {status})"))),
    }
}

/// From a deadline in milliseconds of the Unix epoch; nothing where it is not told.
fn left(deadline: Option<&str>) -> Duration {
    let deadline = deadline.and_then(|text| text.parse().ok()).map_or(Duration::ZERO, Duration::from_millis);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    deadline.saturating_sub(now)
}
