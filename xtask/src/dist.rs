//! `cargo xtask dist`: a release build, packed with what has to go along.

use anyhow::{Context, Result};

use crate::shell::{command, root, run as step, target};

fn name() -> String {
    format!("sagewai-{}-x86_64-linux", env!("CARGO_PKG_VERSION"))
}

/// Builds and packs into `target/dist/NAME.tar.gz`, with `SHA256SUMS` beside it.
pub(crate) fn run() -> Result<()> {
    step(
        "release build",
        command(env!("CARGO")).args(["build", "--release", "--locked", "--package", "sagewai"]),
    )?;
    let dist = target().join("dist");
    let folder = dist.join(name());
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let files = [
        (target().join("release/sagewai"), "sagewai"),
        (root().join("LICENSE"), "LICENSE"),
        (root().join("README.md"), "README.md"),
        (root().join("CHANGELOG.md"), "CHANGELOG.md"),
    ];
    for (from, name) in files {
        std::fs::copy(&from, folder.join(name)).with_context(|| format!("cannot copy {}", from.display()))?;
    }
    let archive = format!("{}.tar.gz", name());
    step(
        "pack",
        command("tar").current_dir(&dist).args([
            "--owner=0",
            "--group=0",
            "--sort=name",
            "-czf",
            &archive,
            &name(),
        ]),
    )?;
    let sums = crate::shell::output_of(command("sha256sum").current_dir(&dist).arg(&archive))
        .context("sha256sum failed")?;
    std::fs::write(dist.join("SHA256SUMS"), &sums)?;
    eprintln!("{}", dist.join(&archive).display());
    print!("{sums}");
    Ok(())
}
