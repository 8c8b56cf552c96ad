//! From a process's output to the task's output (DSL `run.return`).

use protocol::frame::Stream;
use protocol::step::{ProcessReturn, StepError};
use sandbox::egress::Denial;
use serde_json::{Value, json};

use crate::error::runtime;

/// Bytes of output that can become a task's output.
pub(crate) const MAX_RETURN_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that the head of an HTTP answer may add to its body.
const MAX_HEAD_BYTES: usize = 512 * 1024;
/// Bytes of standard error that an error's detail quotes.
const QUOTED_BYTES: usize = 2048;

/// Collects what a process writes, as far as it is returned.
pub(crate) struct Capture {
    returns: ProcessReturn,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    /// The end of standard error, for the detail of an error.
    tail: Vec<u8>,
    limit: usize,
    denial: Option<Denial>,
}

impl Capture {
    pub(crate) fn new(returns: ProcessReturn) -> Self {
        Capture {
            returns,
            stdout: Vec::new(),
            stderr: Vec::new(),
            tail: Vec::new(),
            limit: MAX_RETURN_BYTES,
            denial: None,
        }
    }

    /// For the answer of an HTTP request, whose body has a limit of its own.
    pub(crate) fn of_answer() -> Self {
        Capture { limit: MAX_RETURN_BYTES + MAX_HEAD_BYTES, ..Capture::new(ProcessReturn::Stdout) }
    }

    /// Notes that the process was refused a connection.
    pub(crate) fn denied(&mut self, denial: Denial) {
        self.denial = Some(denial);
    }

    /// The connection that it was refused last.
    pub(crate) fn denial(&self) -> Option<&Denial> {
        self.denial.as_ref()
    }

    /// Adds output.
    ///
    /// # Errors
    /// What is to be returned has passed [`MAX_RETURN_BYTES`]: the step should end.
    pub(crate) fn add(&mut self, stream: Stream, data: &[u8]) -> Result<(), StepError> {
        if stream == Stream::Stderr {
            self.tail.extend_from_slice(data);
            let excess = self.tail.len().saturating_sub(QUOTED_BYTES);
            self.tail.drain(..excess);
        }
        let kept = match (self.returns, stream) {
            (ProcessReturn::Stdout | ProcessReturn::All, Stream::Stdout) => &mut self.stdout,
            (ProcessReturn::Stderr | ProcessReturn::All, Stream::Stderr) => &mut self.stderr,
            _ => return Ok(()),
        };
        if kept.len() + data.len() > self.limit {
            let name = if stream == Stream::Stdout { "standard output" } else { "standard error" };
            return Err(runtime(format!(
                "the step wrote more than {} MiB to {name}, which is to become the task's output; write large results to \
                 a file below /workspace and name it in `artifacts`, or set `return: none` or `return: code`",
                MAX_RETURN_BYTES / 1024 / 1024
            )));
        }
        kept.extend_from_slice(data);
        Ok(())
    }

    /// What was written to standard output so far.
    pub(crate) fn stdout(&self) -> &[u8] {
        &self.stdout
    }

    /// The end of what was written to standard error.
    pub(crate) fn stderr_tail(&self) -> &[u8] {
        &self.tail
    }

    /// The task's output.
    ///
    /// # Errors
    /// The process failed, and its code is not what the document asked for.
    pub(crate) fn finish(self, end: End) -> Result<Value, StepError> {
        let code = end.code();
        match self.returns {
            ProcessReturn::Code => return Ok(json!(code)),
            ProcessReturn::All => {
                return Ok(
                    json!({ "code": code, "stdout": text(&self.stdout), "stderr": text(&self.stderr) }),
                );
            }
            ProcessReturn::Stdout | ProcessReturn::Stderr | ProcessReturn::None => {}
        }
        if code != 0 {
            return Err(runtime(failure(end, &self.tail)));
        }
        Ok(match self.returns {
            ProcessReturn::Stdout => value(&self.stdout),
            ProcessReturn::Stderr => value(&self.stderr),
            _ => Value::Null,
        })
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Exited(i32),
    Signalled(i32),
}

impl End {
    /// The exit code as shells count: 128 + n for signal n.
    pub(crate) fn code(self) -> i32 {
        match self {
            End::Exited(code) => code,
            End::Signalled(signal) => 128 + signal,
        }
    }
}

/// The detail of a failed process: how it ended and the end of its standard error.
pub(crate) fn failure(end: End, stderr_tail: &[u8]) -> String {
    let how = match end {
        End::Exited(code) => format!("the process exited with code {code}"),
        End::Signalled(9) => "the process was killed (signal 9), for example by a limit of memory".to_owned(),
        End::Signalled(signal) => format!("the process was ended by signal {signal}"),
    };
    match String::from_utf8_lossy(stderr_tail).trim() {
        "" => how,
        said => format!("{how}: {said}"),
    }
}

/// JSON if it is an object or an array, else the text without its last line break.
fn value(bytes: &[u8]) -> Value {
    let looks_structured =
        bytes.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['));
    if looks_structured && let Ok(parsed) = serde_json::from_slice(bytes) {
        return parsed;
    }
    Value::String(text(bytes))
}

fn text(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.strip_suffix('\n').map(|t| t.strip_suffix('\r').unwrap_or(t)).unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(returns: ProcessReturn, end: End) -> Result<Value, StepError> {
        let mut capture = Capture::new(returns);
        capture.add(Stream::Stdout, b"{\"a\": 1}\n").unwrap();
        capture.add(Stream::Stderr, b"careful\n").unwrap();
        capture.finish(end)
    }

    #[test]
    fn each_return_gives_what_it_names() {
        let ok = End::Exited(0);
        assert_eq!(run(ProcessReturn::Stdout, ok).unwrap(), json!({"a": 1}));
        assert_eq!(run(ProcessReturn::Stderr, ok).unwrap(), json!("careful"));
        assert_eq!(run(ProcessReturn::Code, End::Exited(3)).unwrap(), json!(3));
        assert_eq!(run(ProcessReturn::Code, End::Signalled(9)).unwrap(), json!(137));
        assert_eq!(run(ProcessReturn::None, ok).unwrap(), Value::Null);
        assert_eq!(
            run(ProcessReturn::All, End::Exited(2)).unwrap(),
            json!({"code": 2, "stdout": "{\"a\": 1}", "stderr": "careful"})
        );
    }

    #[test]
    fn a_failed_process_is_an_error_that_quotes_its_standard_error() {
        let error = run(ProcessReturn::Stdout, End::Exited(2)).unwrap_err();
        assert_eq!(error.detail, "the process exited with code 2: careful");
    }

    #[test]
    fn output_that_is_to_be_returned_has_a_limit() {
        let mut capture = Capture::new(ProcessReturn::Stdout);
        let block = vec![b'x'; MAX_RETURN_BYTES];
        capture.add(Stream::Stdout, &block).unwrap();
        assert!(capture.add(Stream::Stdout, b"y").unwrap_err().detail.contains("artifacts"));
        let mut ignored = Capture::new(ProcessReturn::None);
        for _ in 0..4 {
            ignored.add(Stream::Stdout, &block).unwrap();
        }
    }
}
