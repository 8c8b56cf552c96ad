//! `cargo xtask test`: everything that has to hold, in the order of what fails fastest.

use std::ffi::OsStr;
use std::process::Command;

use anyhow::{Context, Result};
use clap::Args;

use crate::components::Components;
use crate::shell::{command, root, run as step};
use crate::{cluster, tools};

#[derive(Args)]
pub(crate) struct Options {
    /// Only tests whose names contain this.
    filter: Option<String>,
    /// Skip format, lints and licences.
    #[arg(long)]
    tests_only: bool,
    /// Also run the tests that take minutes.
    #[arg(long)]
    long: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let skipped = check_all(options)?;
    match skipped.len() {
        0 => eprintln!("=> all holds; nothing was skipped"),
        n => eprintln!("=> all that ran holds; {n} were skipped:"),
    }
    for reason in skipped {
        eprintln!("   {reason}");
    }
    Ok(())
}

fn check_all(options: &Options) -> Result<Vec<String>> {
    let path = tools::install()?;
    let kubernetes = cluster::build();
    let mut skipped = Vec::new();
    if !options.tests_only {
        step("format", cargo(&path).args(["fmt", "--all", "--check"]))?;
        step(
            "lints",
            cargo(&path).args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "--deny",
                "warnings",
            ]),
        )?;
        step(
            "licences and sources",
            cargo(&path).args(["deny", "--offline", "check", "licenses", "bans", "sources"]),
        )?;
        skipped.extend(advisories(&path));
    }
    let components = Components::start(kubernetes)?;
    let mut tests = nextest(&path, options);
    tests.envs(components.variables.iter().map(|(name, value)| (name, value)));
    let ran = step("tests", &mut tests);
    skipped.extend(components.skipped.iter().cloned());
    drop(components);
    ran?;
    skipped.extend(skipped_tests()?);
    Ok(skipped)
}

fn cargo(path: &OsStr) -> Command {
    let mut cargo = command(env!("CARGO"));
    cargo.env("PATH", path);
    cargo
}

fn nextest(path: &OsStr, options: &Options) -> Command {
    let mut cargo = cargo(path);
    cargo.args(["nextest", "run", "--workspace", "--locked"]);
    if options.long {
        cargo.args(["--run-ignored", "all"]);
    }
    if let Some(filter) = &options.filter {
        cargo.arg(filter);
    }
    cargo
}

/// Advisories need a database that is fetched; a machine that cannot fetch it goes on, and says so.
fn advisories(path: &OsStr) -> Option<String> {
    let output = cargo(path).args(["deny", "check", "advisories"]).output().ok()?;
    if output.status.success() {
        return None;
    }
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("failed to fetch advisory database") || said.contains("failed to acquire") {
        return Some("advisories: their database cannot be fetched from this machine".to_owned());
    }
    eprintln!("{said}");
    std::process::exit(1)
}

/// Tests that cannot run here print a line that begins with `skipped:`; nextest keeps it in its report.
fn skipped_tests() -> Result<Vec<String>> {
    // nextest keeps it in the checkout, also where the build results lie elsewhere.
    let report = root().join("target/nextest/default/junit.xml");
    let text = std::fs::read_to_string(&report)
        .with_context(|| format!("no report of the tests at {}", report.display()))?;
    let mut test = "";
    let mut skipped = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.split_once("<testcase name=\"").and_then(|(_, rest)| rest.split('"').next())
        {
            test = name;
        }
        if let Some((_, reason)) = line.split_once("skipped:") {
            skipped.push(format!("{test}: {}", reason.trim().trim_end_matches("</system-err>")));
        }
    }
    Ok(skipped)
}
