//! What became of the demo's secret: the step printed it, the log shows it masked, and it lies nowhere outside the broker.

use std::path::Path;

use control::api::model::LogLine;
use serde::Serialize;

use crate::client::{Client, encoded};
use crate::failure::Failure;

/// How the guest masks a value.
const MASK: &str = "[REDACTED:";
/// Largest artifact or log that the demo reads.
const READ_LIMIT_BYTES: usize = 4 << 20;

/// What was found.
#[derive(Debug, Serialize)]
pub(super) struct Proof {
    /// Lines of the log where the step printed its credential.
    masked_lines: Vec<String>,
    /// Bytes of the run's log that were searched for the value.
    log_bytes: usize,
    /// Files of the data folder that were searched for the value.
    files: usize,
    /// Places where the value was found.
    found_in: Vec<String>,
}

impl Proof {
    /// Whether the value was masked and was found nowhere.
    pub(super) fn holds(&self) -> bool {
        !self.masked_lines.is_empty() && self.found_in.is_empty()
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::from("the step printed its credential; its log says:\n");
        for line in &self.masked_lines {
            text.push_str(&format!("    {line}\n"));
        }
        text.push_str(&format!(
            "the value was looked for in {} bytes of logs and {} files (database, blobs, logs, identity file): ",
            self.log_bytes, self.files
        ));
        match self.found_in.as_slice() {
            [] => text.push_str("it is nowhere\n"),
            places => text.push_str(&format!("FOUND in {}\n", places.join(", "))),
        }
        text
    }
}

/// Looks for the value in everything that the run left behind.
pub(super) async fn of_secret(
    client: &Client,
    run: &str,
    data: &Path,
    secret: &str,
) -> Result<Proof, Failure> {
    let log = log(client, run).await?;
    let masked_lines = log.lines().filter(|line| line.contains(MASK)).map(str::to_owned).collect();
    let mut proof = Proof { masked_lines, log_bytes: log.len(), files: 0, found_in: Vec::new() };
    if log.contains(secret) {
        proof.found_in.push("the run's log".to_owned());
    }
    search(data, secret.as_bytes(), &mut proof).map_err(|error| Failure::file("search", data, &error))?;
    Ok(proof)
}

/// The text of an artifact.
pub(super) async fn artifact(client: &Client, run: &str, path: &str) -> Result<String, Failure> {
    let address = format!("/api/v1/runs/{}/artifacts/content?path={}", encoded(run), encoded(path));
    Ok(String::from_utf8_lossy(&read(client, &address).await?).into_owned())
}

async fn log(client: &Client, run: &str) -> Result<String, Failure> {
    let lines = read(client, &format!("/api/v1/runs/{}/logs?follow=false", encoded(run))).await?;
    let pieces =
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice::<LogLine>(line).ok());
    let bytes: Vec<u8> = pieces.flat_map(|piece| piece.bytes()).collect();
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

async fn read(client: &Client, address: &str) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    client
        .download(address, |part| {
            let room = READ_LIMIT_BYTES.saturating_sub(all.len());
            all.extend_from_slice(&part[..part.len().min(room)]);
            Ok(())
        })
        .await?;
    Ok(all)
}

fn search(folder: &Path, needle: &[u8], proof: &mut Proof) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            search(&entry.path(), needle, proof)?;
        } else if kind.is_file() {
            proof.files += 1;
            // A file may vanish while its owner works.
            let content = std::fs::read(entry.path()).unwrap_or_default();
            if content.windows(needle.len()).any(|window| window == needle) {
                proof.found_in.push(entry.path().display().to_string());
            }
        }
    }
    Ok(())
}
