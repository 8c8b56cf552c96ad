//! `sagewai runs artifacts`: the files that a run gave back.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use control::api::model::{ArtifactEntry, Page};

use crate::client::{Client, encoded};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table, bytes, write_bytes};

/// Arguments of `sagewai runs artifacts`.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  sagewai runs artifacts 0192f0c1-…\n  \
    sagewai runs artifacts fetch 0192f0c1-… report.md --to report.md\n  \
    sagewai runs artifacts fetch 0192f0c1-… report.md > report.md"
)]
pub(crate) struct Arguments {
    /// Id of the run.
    #[arg(required = true)]
    id: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Fetch a file, by its path or by the SHA-256 of its content
    Fetch {
        /// Id of the run.
        id: String,
        /// Path below /workspace, or 64 hex digits of SHA-256.
        artifact: String,
        /// File to write; standard output if absent.
        #[arg(long, value_name = "FILE")]
        to: Option<PathBuf>,
    },
}

pub(super) async fn run(client: &Client, arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    match (&arguments.command, &arguments.id) {
        (Some(Command::Fetch { id, artifact, to }), _) => {
            fetch(client, id, artifact, to.as_deref(), output).await
        }
        (None, id) => list(client, id.as_deref().unwrap_or_default(), output).await,
    }
}

async fn list(client: &Client, id: &str, output: &Output) -> Result<Exit, Failure> {
    let page: Page<ArtifactEntry> = client.get(&format!("/api/v1/runs/{}/artifacts", encoded(id))).await?;
    output.answer(&page.items, || {
        let mut table = Table::new(&["PATH", "SIZE", "STEP", "SHA256"]);
        for entry in &page.items {
            let step = format!("{} {}", entry.step, entry.task);
            table.plain([entry.path.clone(), bytes(entry.size), step, entry.sha256.clone()]);
        }
        if table.is_empty() { "no artifacts\n".to_owned() } else { table.render(output.paint) }
    });
    Ok(Exit::Ok)
}

async fn fetch(
    client: &Client,
    id: &str,
    artifact: &str,
    to: Option<&Path>,
    output: &Output,
) -> Result<Exit, Failure> {
    let is_hash = artifact.len() == 64 && artifact.bytes().all(|byte| byte.is_ascii_hexdigit());
    let name = if is_hash { "sha256" } else { "path" };
    let path = format!("/api/v1/runs/{}/artifacts/content?{name}={}", encoded(id), encoded(artifact));
    let Some(to) = to else {
        client
            .download(&path, |part| {
                write_bytes(part);
                Ok(())
            })
            .await?;
        return Ok(Exit::Ok);
    };
    // Beside the target first, so that a download that is cut leaves no half of a file under its name.
    let mut partial = to.as_os_str().to_owned();
    partial.push(".part");
    let partial = PathBuf::from(partial);
    let mut size = 0;
    let mut file =
        std::fs::File::create(&partial).map_err(|error| Failure::file("write", &partial, &error))?;
    let written = client.download(&path, |part| {
        size += part.len() as u64;
        file.write_all(part).map_err(|error| Failure::file("write", &partial, &error))
    });
    if let Err(failure) = written.await {
        let _ = std::fs::remove_file(&partial);
        return Err(failure);
    }
    std::fs::rename(&partial, to).map_err(|error| Failure::file("write", to, &error))?;
    output.remark(&format!("{} written to {}", bytes(size), to.display()));
    Ok(Exit::Ok)
}
