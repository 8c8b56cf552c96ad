//! The guest: the first process in every sandbox, a static binary. It serves one step and then the sandbox ends.
//!
//! It trusts the worker at the other end of its standard streams with what to run, and the step with nothing: the step
//! can neither read its memory nor reach its channel. `--workspace DIR` serves another folder than /workspace, for
//! backends that cannot mount there.

mod channel;
mod failure;
mod guest;
mod harden;
mod interests;
mod layers;
mod network;
mod redact;
mod seccomp;
mod step;
mod sys;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use channel::Channel;
use guest::{End, Guest};

/// Exit code for a bad command line.
const USAGE: u8 = 64;
/// Exit code if the guest cannot be set up at all.
const NOT_SET_UP: u8 = 71;
/// Exit code if the guest told the worker that it failed.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let undumpable = harden::become_unreadable();
    let Some(workspace) = workspace_argument(std::env::args().skip(1)) else {
        eprintln!("usage: guest [--workspace DIR], with a worker at its standard input and output");
        return ExitCode::from(USAGE);
    };
    let guest = harden::take_channel()
        .and_then(|(input, output)| Channel::new(input, output))
        .and_then(|channel| Guest::new(channel, harden::restrict(undumpable), &workspace));
    match guest.map(Guest::serve) {
        Ok(End::Gone) => ExitCode::SUCCESS,
        Ok(End::Failed) => ExitCode::from(FAILED),
        Err(_) => ExitCode::from(NOT_SET_UP),
    }
}

fn workspace_argument(mut arguments: impl Iterator<Item = String>) -> Option<PathBuf> {
    match (arguments.next().as_deref(), arguments.next(), arguments.next()) {
        (None, None, None) => Some(PathBuf::from(workspace::WORKSPACE)),
        (Some("--workspace"), Some(folder), None) => Some(PathBuf::from(folder)),
        _ => None,
    }
}
