//! Invoke as AWS documents it: what is checked before, and what status, headers and body say of the end.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::{Answer, base64};
use super::environment::Outcome;

/// Longest payload of a synchronous invocation, bytes.
const MOST_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;
/// Bytes of the log that an answer carries.
const LOG_TAIL_BYTES: usize = 4096;

/// What an invocation asks for, from its headers.
pub(super) struct Asked<'a> {
    pub(super) kind: &'a str,
    pub(super) log: bool,
    pub(super) tenant: Option<&'a str>,
    pub(super) payload: &'a [u8],
}

/// What AWS refuses before it looks for an environment.
pub(super) fn refusal(asked: &Asked<'_>, tenants: bool) -> Option<Answer> {
    let invalid = |message| Some(Answer::error(400, "InvalidParameterValueException", message));
    if asked.payload.len() > MOST_PAYLOAD_BYTES {
        let message = format!(
            "{} byte payload is too large for the RequestResponse invocation type (limit {MOST_PAYLOAD_BYTES} bytes)",
            asked.payload.len()
        );
        return Some(Answer::error(413, "RequestTooLargeException", &message));
    }
    if !asked.payload.is_empty() && serde_json::from_slice::<Value>(asked.payload).is_err() {
        let message = "Could not parse request body into json: Could not parse payload into json";
        return Some(Answer::error(400, "InvalidRequestContentException", message));
    }
    match (tenants, asked.tenant) {
        (true, None) => invalid(
            "The invoked function is enabled with tenancy configuration. Add a valid tenant ID in your request and try again.",
        ),
        (false, Some(_)) => invalid(
            "The invoked function is not enabled with tenancy configuration. Remove the tenant ID from your request and try again.",
        ),
        _ if !["RequestResponse", "Event", "DryRun"].contains(&asked.kind) => {
            invalid("the invocation type is unknown")
        }
        _ => None,
    }
}

/// Too much concurrency.
pub(super) fn throttled() -> Answer {
    let body = json!({
        "Reason": "ReservedFunctionConcurrentInvocationLimitExceeded",
        "Type": "User",
        "message": "Rate Exceeded.",
    });
    Answer::json(429, &body).with("x-amzn-errortype", "TooManyRequestsException").with("retry-after", "1")
}

/// The end of a synchronous invocation.
pub(super) fn answer(
    outcome: Outcome,
    request: &str,
    version: &str,
    limit: Duration,
    memory_mib: u64,
    log: Option<&str>,
) -> Answer {
    let error = |kind: &str, message: String| {
        let body =
            json!({ "errorType": kind, "errorMessage": format!("RequestId: {request} Error: {message}") });
        (body.to_string().into_bytes(), true)
    };
    let (body, failed) = match outcome {
        Outcome::Result(body) => (body, false),
        Outcome::Error(body) => (body, true),
        Outcome::Exited => error("Runtime.ExitError", "Runtime exited without providing a reason".to_owned()),
        Outcome::TimedOut => {
            error("Sandbox.Timedout", format!("Task timed out after {:.2} seconds", limit.as_secs_f64()))
        }
    };
    let mut answer = Answer { status: 200, headers: Vec::new(), body }
        .with("content-type", "application/json")
        .with("x-amz-executed-version", version)
        .with("x-amzn-requestid", request);
    if failed {
        answer = answer.with("x-amz-function-error", "Unhandled");
    }
    if let Some(log) = log {
        let text = format!(
            "START RequestId: {request} Version: {version}\n{log}END RequestId: {request}\nREPORT RequestId: {request}\t\
             Memory Size: {memory_mib} MB\tMax Memory Used: 0 MB\t\n"
        );
        let tail = &text.as_bytes()[text.len().saturating_sub(LOG_TAIL_BYTES)..];
        answer = answer.with("x-amz-log-result", base64(tail));
    }
    answer
}
