//! What a daemon's refusals mean, in words that a user can act on.

use std::io;

use bollard::errors::Error;

use super::NAME;
use crate::SandboxError;

/// Bytes of a daemon's message that are passed on.
const MAX_MESSAGE_BYTES: usize = 600;

/// Why the daemon did not do what was asked.
#[derive(Debug)]
pub(super) enum Trouble {
    /// What the operator configured cannot be used.
    Configuration(String),
    /// Nothing answers at the address.
    NoDaemon(String),
    /// It answers, and refuses; with the status code as HTTP has it.
    Refused(u16, String),
    /// It broke off, or said what is not understood.
    Broken(String),
}

impl Trouble {
    /// Whether what was asked about is not there.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Trouble::Refused(404, _))
    }

    /// Whether it may be gone already, or is just being removed: nothing is left to do.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Trouble::Refused(404, _))
            || matches!(self, Trouble::Refused(409, message) if message.contains("already in progress"))
    }

    /// As the rest of this crate knows it. `host` is the daemon's address.
    pub(super) fn into_error(self, host: &str) -> SandboxError {
        let unavailable = |reason: String, remedy: &str| SandboxError::Unavailable {
            backend: NAME,
            reason,
            remedy: remedy.to_owned(),
        };
        match self {
            Trouble::Configuration(reason) => unavailable(reason, "correct the worker's `[docker]` settings"),
            Trouble::NoDaemon(why) => SandboxError::Lost {
                backend: NAME,
                reason: format!(
                    "no Docker daemon answers at {host} ({why}); start it, or name another with docker.host"
                ),
            },
            Trouble::Refused(403, message) => unavailable(
                format!("the daemon at {host} refuses this user: {message}"),
                "add the worker's user to the group `docker`, or use a rootless daemon",
            ),
            Trouble::Refused(_, message) if message.contains("no space left on device") => {
                SandboxError::Create(format!(
                    "the disk of the Docker daemon is full ({message}); `docker system df` shows with what, \
                     `docker system prune` frees some"
                ))
            }
            Trouble::Refused(_, message) if is_unknown_runtime(&message) => unavailable(
                message,
                "install the runtime at the daemon and name it in its daemon.json, or correct docker.runtime",
            ),
            Trouble::Refused(_, message) if message.contains("exec format error") => SandboxError::Create(
                "the image is for another architecture than the daemon's machine; use one that has this architecture"
                    .to_owned(),
            ),
            Trouble::Refused(_, message) | Trouble::Broken(message) => SandboxError::Create(message),
        }
    }
}

fn is_unknown_runtime(message: &str) -> bool {
    ["Unknown runtime specified", "unknown or invalid runtime name"]
        .iter()
        .any(|words| message.contains(words))
}

/// Reads the client's error.
pub(super) fn from_bollard(error: Error) -> Trouble {
    match error {
        Error::DockerResponseServerError { status_code, message } => {
            Trouble::Refused(status_code, short(&message))
        }
        Error::IOError { err } => from_io(&err),
        Error::RequestTimeoutError => Trouble::NoDaemon("no answer in time".to_owned()),
        Error::HyperLegacyError { err } => from_chain(&err),
        Error::HyperResponseError { err } => from_chain(&err),
        other => Trouble::Broken(short(&other.to_string())),
    }
}

fn from_io(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::PermissionDenied => Trouble::NoDaemon(
            "permission denied: the worker's user must be in the socket's group, as a rule `docker`"
                .to_owned(),
        ),
        io::ErrorKind::NotFound => Trouble::NoDaemon("no such socket or program".to_owned()),
        _ => Trouble::NoDaemon(short(&error.to_string())),
    }
}

/// The connection was not made, or broke: the innermost cause says why.
fn from_chain(error: &(dyn std::error::Error + 'static)) -> Trouble {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    match cause.downcast_ref::<io::Error>() {
        Some(error) => from_io(error),
        None => Trouble::NoDaemon(short(&cause.to_string())),
    }
}

/// A message on one line, shortened.
pub(super) fn short(message: &str) -> String {
    let mut line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.len() > MAX_MESSAGE_BYTES {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: u16, message: &str) -> String {
        Trouble::Refused(status, message.to_owned()).into_error("unix:///d").to_string()
    }

    #[test]
    fn each_refusal_names_its_remedy() {
        assert!(said(500, "write /x: no space left on device").contains("docker system prune"));
        assert!(said(400, "Unknown runtime specified runsc").contains("docker.runtime"));
        assert!(said(400, "exec /.sagewai/guest: exec format error").contains("architecture"));
        assert!(said(403, "no").contains("group `docker`"));
        let absent = from_io(&io::ErrorKind::NotFound.into()).into_error("unix:///d");
        assert!(
            matches!(&absent, SandboxError::Lost { reason, .. } if reason.contains("docker.host")),
            "{absent}"
        );
    }
}
