//! What commands need of the process they run in: a runtime, the time, a clean end.

use std::time::{SystemTime, UNIX_EPOCH};

use control::api::model::Time;
use protocol::id::Timestamp;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};

use crate::failure::Failure;

/// A runtime on this thread, for clients and supervisors.
pub(crate) fn small_runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        Failure::failed("failed to start the runtime").because(&error).hint("check the limits: ulimit -a")
    })
}

/// A runtime with a thread per core, for servers.
pub(crate) fn server_runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(|error| {
        Failure::failed("failed to start the runtime").because(&error).hint("check the limits: ulimit -a")
    })
}

/// The time now.
pub(crate) fn now() -> Time {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time(Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)))
}

/// Waits for SIGINT or SIGTERM.
pub(crate) async fn asked_to_stop() -> Result<(), Failure> {
    let listen = |kind| {
        signal(kind).map_err(|error| {
            Failure::failed("failed to listen for signals").because(&error).hint("try again")
        })
    };
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// Makes this process end when the process that started it ends; `parent` is that process. For the children of `dev`.
pub(crate) fn end_with_parent(parent: Option<u32>) -> Result<(), Failure> {
    let Some(parent) = parent else { return Ok(()) };
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM)).map_err(
        |error| {
            Failure::failed("failed to bind this process to its parent").because(&error).hint("try again")
        },
    )?;
    let current = rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get());
    if current != i32::try_from(parent).ok() {
        return Err(Failure::failed("the process that started this one has ended")
            .hint("start it again: sagewai dev"));
    }
    Ok(())
}

/// Starts the log on standard error; `filter` is a level or `crate=level` pairs.
pub(crate) fn start_log(filter: &str) -> Result<(), Failure> {
    use tracing_subscriber::filter::Targets;
    use tracing_subscriber::layer::SubscriberExt;
    use tracing_subscriber::util::SubscriberInitExt;
    let targets: Targets = filter.parse().map_err(|error| {
        Failure::usage(format!("`{filter}` is not a log filter"))
            .because(&error)
            .hint("use error, warn, info, debug or trace, or pairs such as info,control=debug")
    })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_ansi(false);
    tracing_subscriber::registry().with(targets).with(lines).init();
    Ok(())
}
