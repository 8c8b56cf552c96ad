//! The guest: the first process in every sandbox, a static binary. It serves one step and then the sandbox ends.
//!
//! It trusts the worker at the other end of its standard streams with what to run, and the step with nothing: the step
//! can neither read its memory nor reach its channel. What it can be told at its start is in `options`.

mod channel;
mod failure;
mod guest;
mod harden;
mod install;
mod interests;
mod knock;
mod lambda;
mod layers;
mod network;
mod options;
mod redact;
mod seccomp;
mod step;
mod sys;
mod workspace;

use std::process::ExitCode;

use channel::Channel;
use guest::{End, Guest};
use options::{Job, Options, USAGE};

/// Exit code for a bad command line.
const BAD_USAGE: u8 = 64;
/// Exit code if the guest cannot be set up at all.
const NOT_SET_UP: u8 = 71;
/// Exit code if the guest told the worker that it failed.
const FAILED: u8 = 1;

fn main() -> ExitCode {
    let undumpable = harden::become_unreadable();
    let mut arguments = std::env::args();
    let program = arguments.next().unwrap_or_default();
    // The name that AWS Lambda calls a function's own runtime by, without arguments.
    let job = if lambda::is_bootstrap(&program) { Some(Job::Lambda) } else { options::parse(arguments) };
    match job {
        Some(Job::Lambda) => lambda::run(undumpable),
        Some(Job::Serve(options)) => serve(&options, undumpable),
        Some(Job::Install(target)) => match install::install(program.as_ref(), &target) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("failed to copy {program} to {}: {error}", target.display());
                ExitCode::from(FAILED)
            }
        },
        None => {
            eprintln!("{USAGE}");
            ExitCode::from(BAD_USAGE)
        }
    }
}

fn serve(options: &Options, undumpable: bool) -> ExitCode {
    let guest = harden::take_channel().and_then(|(input, output)| {
        let restrictions = harden::restrict(undumpable);
        if options.knock {
            knock::answer(&input, &output)?;
        }
        Guest::new(Channel::new(input, output)?, restrictions, options)
    });
    match guest.map(Guest::serve) {
        Ok(End::Gone) => ExitCode::SUCCESS,
        Ok(End::Failed) => ExitCode::from(FAILED),
        Err(_) => ExitCode::from(NOT_SET_UP),
    }
}
