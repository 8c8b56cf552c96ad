//! One invocation on its way, and what its end means for the worker and the user.

use protocol::lambda::{MAX_INVOCATION_BYTES, error_type};
use serde_json::Value;

use super::api::Invoked;
use super::aws::AwsError;
use super::backend::NAME;
use crate::SandboxError;

/// Characters of AWS's or the function's sentence that are told.
const MOST_TOLD_CHARS: usize = 500;

/// How an invocation ended.
#[derive(Debug)]
pub(super) enum End {
    /// The guest answered: its step, if there was one, is over.
    Answered,
    /// The execution environment had served before, or is another tenant's: another one may be new.
    Reused(String),
    /// AWS has no room now.
    Throttled(String),
    /// It failed, and may succeed if it is tried again.
    Failed(String),
    /// It cannot succeed as things are configured.
    Misconfigured {
        /// What is wrong.
        reason: String,
        /// What the operator can do.
        remedy: String,
    },
}

impl End {
    /// What the answer of an invocation means.
    pub(super) fn of(answer: Result<Invoked, AwsError>) -> Self {
        match answer {
            Ok(invoked) if invoked.function_error.is_none() => End::Answered,
            Ok(invoked) => of_function(&invoked),
            Err(error) => of_aws(&error),
        }
    }

    /// The error of a sandbox that could not be made.
    pub(super) fn into_create_error(self) -> SandboxError {
        match self {
            End::Answered => {
                SandboxError::Create("the function answered without dialling the worker".to_owned())
            }
            End::Reused(why) | End::Failed(why) => SandboxError::Create(why),
            End::Throttled(why) => SandboxError::Create(format!("AWS Lambda throttles the function: {why}")),
            End::Misconfigured { reason, remedy } => {
                SandboxError::Unavailable { backend: NAME, reason, remedy }
            }
        }
    }

    /// What is said of a step that was running.
    pub(super) fn obituary(&self) -> String {
        match self {
            End::Answered => "the function answered before the step had ended".to_owned(),
            End::Reused(why) | End::Failed(why) | End::Throttled(why) => why.clone(),
            End::Misconfigured { reason, remedy } => format!("{reason}; {remedy}"),
        }
    }
}

/// What a function's error means. Its type and text come from the guest or from AWS.
fn of_function(invoked: &Invoked) -> End {
    let error: Value = serde_json::from_slice(&invoked.payload).unwrap_or(Value::Null);
    let kind = error["errorType"].as_str().unwrap_or_default();
    let told = shorten(error["errorMessage"].as_str().unwrap_or_default());
    let request_remedy =
        || "`sagewai sandbox lambda deploy` makes the function that this worker needs".to_owned();
    match kind {
        error_type::REUSED | error_type::TENANT => return End::Reused(told),
        error_type::REQUEST => return End::Misconfigured { reason: told, remedy: request_remedy() },
        error_type::UNREACHABLE | error_type::ISOLATION => {
            return End::Failed(format!("the function: {told}"));
        }
        _ => {}
    }
    if kind == "Sandbox.Timedout" || told.contains("Task timed out") {
        return End::Failed(format!("the function passed its time limit and AWS ended it ({told})"));
    }
    let killed = kind == "Runtime.OutOfMemory" || told.contains("signal: killed");
    if killed {
        let used = memory_used(&invoked.log_tail);
        let used = used.map(|(used, size)| format!(": {used} of {size} MiB were in use")).unwrap_or_default();
        return End::Failed(format!("AWS killed the function, most likely for its memory{used}"));
    }
    if kind == "Runtime.InvalidEntrypoint" || kind == "Runtime.InvalidWorkingDir" {
        return End::Misconfigured {
            reason: format!("AWS cannot start the function's program: {told}"),
            remedy: request_remedy(),
        };
    }
    End::Failed(format!("the function failed: {kind}: {told}"))
}

/// Used and given memory, MiB, from the report that AWS writes at the end of a function's log.
fn memory_used(log: &str) -> Option<(u32, u32)> {
    let report = log.lines().rev().find(|line| line.contains("Max Memory Used:"))?;
    let number = |name: &str| report.split(name).nth(1)?.split_whitespace().next()?.parse().ok();
    Some((number("Max Memory Used:")?, number("Memory Size:")?))
}

fn of_aws(error: &AwsError) -> End {
    let told = shorten(&error.to_string());
    if error.is_throttling() {
        return End::Throttled(told);
    }
    let remedies = [
        ("ResourceNotFoundException", "deploy it: `sagewai sandbox lambda deploy`"),
        (
            "AccessDeniedException",
            "the worker's role needs lambda:InvokeFunction and lambda:GetFunctionConfiguration on it",
        ),
        ("UnrecognizedClientException", "check the worker's AWS credentials"),
        ("InvalidSignatureException", "check the worker's AWS credentials and its clock"),
        ("ExpiredTokenException", "renew the worker's AWS credentials"),
        ("InvalidParameterValueException", "`sagewai sandbox lambda check` shows what differs"),
        ("InvalidRuntimeException", "deploy it again: `sagewai sandbox lambda deploy`"),
    ];
    if let Some((_, remedy)) = remedies.iter().find(|(name, _)| error.is(name)) {
        return End::Misconfigured { reason: told, remedy: (*remedy).to_owned() };
    }
    match error {
        AwsError::NoCredentials(_) | AwsError::Credentials(_) | AwsError::NoRegion => {
            let remedy = "give the worker credentials by environment, profile or role".to_owned();
            End::Misconfigured { reason: told, remedy }
        }
        _ => End::Failed(told),
    }
}

/// Text of others in one line of bounded length.
fn shorten(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_TOLD_CHARS).collect()
}

const _: () = assert!(MAX_INVOCATION_BYTES <= 6 * 1024 * 1024, "AWS takes no longer payload");

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(payload: &str, log_tail: &str) -> End {
        End::of(Ok(Invoked {
            payload: payload.as_bytes().to_vec(),
            function_error: Some("Unhandled".to_owned()),
            log_tail: log_tail.to_owned(),
        }))
    }

    fn refused(status: u16, code: &str) -> End {
        End::of(Err(AwsError::Refused { status, code: code.to_owned(), message: "no".to_owned() }))
    }

    #[test]
    fn ends_are_told_apart() {
        let timeout = failed(
            r#"{"errorType":"Sandbox.Timedout","errorMessage":"RequestId: 1 Error: Task timed out after 3.00 seconds"}"#,
            "",
        );
        assert!(matches!(timeout, End::Failed(why) if why.contains("time limit") && why.contains("3.00")));
        let memory = failed(
            r#"{"errorType":"Runtime.ExitError","errorMessage":"RequestId: 1 Error: Runtime exited with error: signal: killed"}"#,
            "REPORT RequestId: 1\tMemory Size: 128 MB\tMax Memory Used: 127 MB\t\n",
        );
        assert!(matches!(memory, End::Failed(why) if why.contains("127 of 128")));
        assert!(matches!(
            failed(r#"{"errorType":"Sagewai.Reused","errorMessage":"not new"}"#, ""),
            End::Reused(_)
        ));
        assert!(matches!(failed("not JSON", ""), End::Failed(_)));
        assert!(matches!(refused(429, "TooManyRequestsException"), End::Throttled(_)));
        assert!(matches!(refused(404, "ResourceNotFoundException"), End::Misconfigured { .. }));
        assert!(matches!(refused(502, "EC2UnexpectedException"), End::Failed(_)));
    }

    #[test]
    fn what_others_say_is_one_short_line() {
        let long = format!(r#"{{"errorType":"X","errorMessage":"a\u001b[31m\n{}"}}"#, "b".repeat(2000));
        let End::Failed(why) = failed(&long, "") else { panic!() };
        assert!(why.len() < 600 && !why.contains(['\n', '\u{1b}']), "{why}");
    }
}
