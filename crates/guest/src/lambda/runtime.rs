//! The runtime's life: one invocation is served, all later ones are refused.

use std::ffi::OsStr;
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

use protocol::frame::{FRAME_VERSION, LayerReport};
use protocol::lambda::{Answer, Invocation, LAMBDA_VERSION, error_type};
use rustix::fs::{Mode, OFlags};

use super::runtime_api::{Invoked, RuntimeApi};
use super::terms::Terms;
use super::{dial, freshness};
use crate::guest::Guest;
use crate::harden::{self, Restrictions};
use crate::layers;
use crate::network::Reach;
use crate::options::Options;

/// Name of the program that Lambda starts in a function with a runtime of its own.
const BOOTSTRAP: &str = "bootstrap";
/// The step's folder: nothing else than /tmp can be written to.
const WORKSPACE: &str = "/tmp/workspace";
/// The step's home.
const HOME: &str = "/tmp/home";
/// Exit code if the platform cannot be talked to.
const NO_PLATFORM: u8 = 71;

/// A refusal: the type and the message of the error that answers the invocation.
struct Refused(&'static str, String);

/// Whether the program was started under the name of a function's runtime.
pub(crate) fn is_bootstrap(program: &str) -> bool {
    Path::new(program).file_name() == Some(OsStr::new(BOOTSTRAP))
}

/// Serves until the platform ends the execution environment.
pub(crate) fn run(undumpable: bool) -> ExitCode {
    match serve(undumpable) {
        Ok(never) => match never {},
        Err(error) => {
            // To the function's log: there is no worker to tell.
            eprintln!("sagewai: {error}");
            ExitCode::from(NO_PLATFORM)
        }
    }
}

fn serve(undumpable: bool) -> io::Result<std::convert::Infallible> {
    let api = RuntimeApi::of_environment()?;
    close_standard_streams()?;
    let mut restrictions = Some(harden::restrict(undumpable));
    loop {
        let invoked = api.next()?;
        let answer = match read(&invoked) {
            Ok(Invocation::Probe { .. }) => Ok(restrictions.as_ref().map(found).unwrap_or_default()),
            Ok(Invocation::Step(call)) => match restrictions.take() {
                Some(restrictions) => step(&invoked, &call, restrictions).map(|()| Vec::new()),
                None => Err(reused("it has served a step")),
            },
            Err(refused) => Err(refused),
        };
        match answer {
            Ok(layers) => {
                let answer = Answer { version: LAMBDA_VERSION, frames: FRAME_VERSION, layers };
                let body = serde_json::to_vec(&answer).map_err(io::Error::other)?;
                api.respond(&invoked, &body)?;
            }
            Err(Refused(kind, message)) => {
                eprintln!("sagewai: {kind}: {message}");
                api.fail(&invoked, kind, &message)?;
            }
        }
    }
}

/// What the invocation asks for, if it is ours and for whom AWS says it is.
fn read(invoked: &Invoked) -> Result<Invocation, Refused> {
    let refused = |message: &str| Refused(error_type::REQUEST, message.to_owned());
    let payload =
        invoked.payload.as_ref().ok_or_else(|| refused("the payload is too long to be a worker's"))?;
    let invocation = serde_json::from_slice(payload).map_err(|_| {
        refused("the payload is no worker's of this version: worker and function must be of one version of sagewai")
    })?;
    let (version, tenant) = match &invocation {
        Invocation::Probe { version } => (*version, invoked.tenant.as_deref()),
        Invocation::Step(call) => (call.version, call.tenant.as_deref()),
    };
    if version != LAMBDA_VERSION {
        return Err(refused(&format!(
            "the worker speaks version {version}, this function {LAMBDA_VERSION}: deploy it again"
        )));
    }
    if tenant != invoked.tenant.as_deref() {
        let message = "the invocation names another tenant than the execution environment is for";
        return Err(Refused(error_type::TENANT, message.to_owned()));
    }
    Ok(invocation)
}

fn step(
    invoked: &Invoked,
    call: &protocol::lambda::Call,
    mut restrictions: Restrictions,
) -> Result<(), Refused> {
    let ends = Instant::now() + invoked.left;
    freshness::claim().map_err(|left_over| reused(&left_over))?;
    let isolation =
        |error: io::Error| Refused(error_type::ISOLATION, format!("the guest cannot be set up: {error}"));
    for folder in [WORKSPACE, HOME] {
        std::fs::create_dir(folder).map_err(isolation)?;
    }
    let terms = Terms { ends, open_network: call.open_network };
    restrictions.offline = terms.offline();
    let channel = dial::dial(call).map_err(|message| Refused(error_type::UNREACHABLE, message))?;
    let options = Options { workspace: WORKSPACE.into(), knock: false, closed: None };
    let guest = Guest::new(channel, restrictions, &options).map_err(isolation)?;
    _ = guest.under(terms).serve();
    freshness::mark_served();
    Ok(())
}

/// The layers as they are for a step that is not given the function's network.
fn found(restrictions: &Restrictions) -> Vec<LayerReport> {
    layers::reports(restrictions, &Reach::NoSockets)
}

fn reused(left_over: &str) -> Refused {
    let message = format!(
        "this execution environment is not new: {left_over}. A step gets one of its own; deploy the function with tenant \
         isolation, so that AWS makes one for each"
    );
    Refused(error_type::REUSED, message)
}

/// Leaves standard error alone, which is the function's log. The step gets none of them.
fn close_standard_streams() -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_is_known_by_its_name() {
        assert!(is_bootstrap("/var/task/bootstrap") && is_bootstrap("./bootstrap"));
        assert!(!is_bootstrap("/guest") && !is_bootstrap("/bootstrap/guest") && !is_bootstrap(""));
    }
}
