//! Running other programs, with a line on what runs and how long it took.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().expect("xtask lies in the checkout").to_owned()
}

/// The folder of build results, wherever it was configured to be.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program to run in the root of the checkout.
pub(crate) fn command(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    command
}

/// Runs a program whose output the user sees.
pub(crate) fn run(what: &str, command: &mut Command) -> Result<()> {
    eprintln!("=> {what}");
    let began = Instant::now();
    let status = command.status().with_context(|| format!("{what}: {command:?} could not be started"))?;
    let seconds = began.elapsed().as_secs_f64();
    if !status.success() {
        bail!("{what} failed ({status}, after {seconds:.0} s): {command:?}");
    }
    eprintln!("=> {what}: ok, {seconds:.0} s");
    Ok(())
}

/// Runs a program and gives its standard output; `None` if it is not there or failed.
pub(crate) fn output_of(command: &mut Command) -> Option<String> {
    let output = command.output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
