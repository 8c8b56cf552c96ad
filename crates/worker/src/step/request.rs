//! `call: http` in modes 1 and 2: sent from inside the sandbox by a program of ours, which the worker puts there.
//!
//! So the credential of an identity is applied where only the step's sandbox has it. TLS trusts the root certificates of
//! this worker, whatever the sandbox's image holds.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::LazyLock;

use base64ct::{Base64, Encoding};
use bytes::Bytes;
use caller::Answer;
use protocol::step::{HttpCall, HttpOutcome, ProcessReturn, StepError};
use sandbox::session::PutFile;
use serde_json::Value;

use super::http::{denied, with_plain_uri};
use super::process::{Process, WORKSPACE};
use crate::error::runtime;
use crate::outcome::{Capture, End, failure};

/// Where the program and the certificates lie below the workspace.
const PROGRAM: &str = ".sagewai/caller";
const ROOTS: &str = ".sagewai/roots.pem";

/// The process that sends the request.
pub(super) fn prepare(call: &HttpCall) -> Result<Process, StepError> {
    let call = with_plain_uri(call)?;
    let program = PutFile {
        path: PROGRAM.to_owned(),
        mode: 0o755,
        content: Bytes::from_static(sandbox::caller_binary()),
    };
    let roots = PutFile { path: ROOTS.to_owned(), mode: 0o644, content: ROOT_CERTIFICATES.clone() };
    Ok(Process {
        argv: vec![format!("{WORKSPACE}/{PROGRAM}"), format!("{WORKSPACE}/{ROOTS}")],
        environment: BTreeMap::new(),
        stdin: serde_json::to_vec(&call).expect("a call is JSON").into(),
        files: vec![program, roots],
        returns: ProcessReturn::Stdout,
    })
}

/// What the program said, as the task's output.
pub(super) fn output(call: &HttpCall, end: End, capture: &Capture) -> Result<Value, StepError> {
    let said = capture.stdout();
    let line = said.iter().position(|byte| *byte == b'\n').unwrap_or(said.len());
    let (line, body) = (&said[..line], said.get(line + 1..).unwrap_or_default());
    let outcome = serde_json::from_slice(line).map_err(|_| {
        runtime(match end {
            End::Exited(0) => "the request's outcome could not be read".to_owned(),
            end => failure(end, capture.stderr_tail()),
        })
    })?;
    match outcome {
        HttpOutcome::Answered(status, method, uri, sent, headers) => {
            caller::output(call, &Answer { status, method, uri, sent, headers, body: body.to_vec() })
        }
        HttpOutcome::Failed(kind, status, title, detail) => Err(match capture.denial() {
            // Inside the sandbox a refused connection is one that ends; this worker knows why it did.
            Some(denial) => denied(denial, &call.uri),
            None => StepError { kind, status, title, detail },
        }),
    }
}

/// The machine's root certificates in PEM, read once; empty if there are none.
static ROOT_CERTIFICATES: LazyLock<Bytes> = LazyLock::new(|| {
    let mut text = String::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        let encoded = Base64::encode_string(&certificate);
        let _ = writeln!(text, "-----BEGIN CERTIFICATE-----");
        for line in encoded.as_bytes().chunks(64) {
            let _ = writeln!(text, "{}", String::from_utf8_lossy(line));
        }
        let _ = writeln!(text, "-----END CERTIFICATE-----");
    }
    text.into()
});
