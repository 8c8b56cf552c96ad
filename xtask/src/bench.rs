//! `cargo xtask bench`: builds what is measured, installs the peers, and starts the crate `bench`. A peer that cannot be
//! installed leaves its columns empty; no build fails on a time.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::shell::{command, output_of, root, run as step, target};

/// Lines of docs/performance.md between which the table stands.
const TABLE: (&str, &str) = ("<!-- table: cargo xtask bench --docs -->", "<!-- end of the table -->");

#[derive(Args)]
pub(crate) struct Options {
    /// orchestration, sandbox, footprint; nothing named means everything.
    groups: Vec<String>,
    /// Writes the rows as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Writes the table into docs/performance.md.
    #[arg(long)]
    docs: bool,
    /// Rounds; in each, every system has one turn.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of a turn under load.
    #[arg(long)]
    seconds: Option<f64>,
    /// Operations of a turn where they come one at a time.
    #[arg(long)]
    operations: Option<usize>,
    /// Also what takes minutes: a million pending runs, a run of a hundred thousand steps.
    #[arg(long)]
    long: bool,
}

impl Options {
    fn wants(&self, group: &str) -> bool {
        self.groups.is_empty() && !self.long || self.groups.iter().any(|wanted| wanted == group)
    }
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let build = ["build", "--release", "--locked", "--package"];
    step("release build of sagewai", command(env!("CARGO")).args(build).arg("sagewai"))?;
    step("release build of bench", command(env!("CARGO")).args(build).arg("bench"))?;
    let folder = target().join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let restate = if options.wants("orchestration") { restate(&folder.join("restate")) } else { None };
    if options.wants("sandbox") {
        bubblewrap();
    }
    let mut bench = alone();
    bench.arg(target().join("release/bench")).args(&options.groups);
    bench.arg("--sagewai").arg(target().join("release/sagewai")).arg("--work").arg(folder.join("data"));
    if let Some(restate) = restate {
        bench.arg("--restate").arg(restate);
    }
    if options.long {
        bench.arg("--long");
    }
    if let Some(json) = &options.json {
        bench.arg("--json").arg(std::path::absolute(json)?);
    }
    let numbers = [
        ("--rounds", options.rounds.map(|value| value.to_string())),
        ("--seconds", options.seconds.map(|value| value.to_string())),
        ("--operations", options.operations.map(|value| value.to_string())),
    ];
    for (flag, value) in numbers {
        bench.args(value.map(|value| format!("{flag}={value}")));
    }
    let output = bench.stderr(std::process::Stdio::inherit()).output().context("cannot start bench")?;
    let table = String::from_utf8(output.stdout).context("bench prints text")?;
    print!("{table}");
    anyhow::ensure!(output.status.success(), "bench failed ({})", output.status);
    if options.docs { into_docs(&table) } else { Ok(()) }
}

/// Without a way to the internet, so that no peer looks for it; as root only, since an ordinary user would have to become
/// another user for it.
fn alone() -> Command {
    let is_root = output_of(command("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    let script = "ip link set lo up && exec \"$@\"";
    if is_root && output_of(command("unshare").args(["--net", "sh", "-c", script, "sh", "true"])).is_some() {
        let mut alone = command("unshare");
        alone.args(["--net", "sh", "-c", script, "sh"]);
        return alone;
    }
    let mut plain = command("env");
    plain.arg("--");
    plain
}

/// Installs the peer Restate into `folder`; `None`, with the reason said, where that fails.
fn restate(folder: &Path) -> Option<PathBuf> {
    let installed = install_restate(folder);
    if let Err(error) = &installed {
        eprintln!("=> Restate is not measured: {error:#}");
    }
    installed.is_ok().then(|| folder.to_owned())
}

fn install_restate(folder: &Path) -> Result<()> {
    let files = root().join("bench/peers/restate");
    std::fs::create_dir_all(folder)?;
    for file in ["package.json", "service.mjs"] {
        let (from, to) = (files.join(file), folder.join(file));
        let is_new = std::fs::read(&from).ok() != std::fs::read(&to).ok();
        if file == "package.json" && (is_new || !folder.join("node_modules").is_dir()) {
            std::fs::copy(&from, &to)?;
            // Its packages bring their programs along; what they would run after installation only reports home.
            let flags = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"];
            step("install Restate", command("npm").args(flags).current_dir(folder))?;
        }
        std::fs::copy(&from, &to)?;
    }
    Ok(())
}

/// Installs bwrap where it is missing and may be installed; else its columns stay empty.
fn bubblewrap() {
    if output_of(command("bwrap").arg("--version")).is_some() {
        return;
    }
    let install = step("install bwrap", command("apt-get").args(["install", "--yes", "bubblewrap"]));
    if let Err(error) = install {
        eprintln!("=> bwrap is not measured: {error:#}");
    }
}

fn into_docs(table: &str) -> Result<()> {
    let path = root().join("docs/performance.md");
    let text = std::fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))?;
    let parts = text.split_once(TABLE.0).and_then(|(before, rest)| {
        rest.split_once(TABLE.1)
            .map(|(_, after)| format!("{before}{}\n\n{table}\n{}{after}", TABLE.0, TABLE.1))
    });
    let text = parts.with_context(|| format!("{} has no lines {TABLE:?}", path.display()))?;
    std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
}
