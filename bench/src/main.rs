//! Measures the release build side by side with its peers, in rounds that take turns, and writes rows.
//!
//! `cargo xtask bench` builds what is measured, installs the peers and starts this program. It never fails on a time.

mod arguments;
mod bounds;
mod egress;
mod footprint;
mod http;
mod load;
mod machine;
mod orchestration;
mod orchestration_long;
mod process;
mod restate;
mod rows;
mod sagewai;
mod samples;
mod sandboxes;
mod target;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use sandbox_namespace::{Spawner, SpawnerError, SpawnerOptions};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::{Arguments, Group};
use crate::machine::Machine;
use crate::rows::{Report, Row};

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    // First of all, as in the worker: the spawner is a fork of this process while it is small and has one thread.
    let spawner = arguments.wants(Group::Sandbox).then(|| Spawner::start(&SpawnerOptions::default()));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // What is measured is stopped where its owner is dropped, so a signal drops it.
    let (report, failures) = runtime.block_on(async {
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            measured = measure(&arguments, spawner) => measured,
            _ = interrupt.recv() => bail!("interrupted"),
            _ = terminate.recv() => bail!("told to end"),
        }
    })?;
    print!("{}", report.table());
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report).context("the report is plain data")?;
        std::fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(failures.is_empty(), "not everything could be measured:\n{}", failures.join("\n"));
    Ok(())
}

/// Measures group after group; one that fails, as when a process ends, takes no other with it.
async fn measure(
    arguments: &Arguments,
    spawner: Option<Result<Spawner, SpawnerError>>,
) -> Result<(Report, Vec<String>)> {
    let mut report = Report::new(Machine::now()?);
    let mut failures = Vec::new();
    let mut take = |name, rows: Result<Vec<Row>>| match rows {
        Ok(rows) => report.add(name, rows),
        Err(error) => failures.push(format!("{name}: {error:#}")),
    };
    if arguments.wants(Group::Footprint) {
        take("footprint", footprint::measure(arguments).await);
    }
    if arguments.wants(Group::Orchestration) {
        take("orchestration", orchestration::measure(arguments).await);
    }
    if arguments.long {
        take("orchestration, long", orchestration_long::measure(arguments).await);
    }
    if let Some(spawner) = spawner {
        take("sandbox", sandboxes::measure(arguments, spawner).await);
    }
    report.end(Machine::now()?);
    Ok((report, failures))
}
