//! `sagewai identity audit`: who got which identity, and who changed what.

use std::path::PathBuf;

use clap::Args;
use identity::admin::Client;
use identity::audit::record::Verdict;
use identity::audit::{Checkpoint, Event, Line};

use super::{failed, time};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, safe_line};

/// Arguments of `sagewai identity audit`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai identity audit\n  sagewai identity audit --output json > trail.jsonl\n  \
    sagewai identity audit --verify\n  sagewai identity audit --verify --checkpoint kept.json\n\n\
    A checkpoint that was kept elsewhere also finds a trail that was cut or rewritten as a whole."
)]
pub(crate) struct Arguments {
    /// Check the chain of hashes and the signed checkpoints.
    #[arg(long)]
    verify: bool,
    /// A checkpoint that was kept elsewhere, JSON.
    #[arg(long, value_name = "FILE", requires = "verify")]
    checkpoint: Option<PathBuf>,
}

pub(super) async fn run(client: &Client, arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    if arguments.verify {
        return verify(client, arguments, output).await;
    }
    let mut offset = 0;
    loop {
        let page = client.audit(offset).await.map_err(failed)?;
        for line in &page.lines {
            output.item(line, || text(line));
        }
        if page.end || page.next_offset == offset {
            return Ok(());
        }
        offset = page.next_offset;
    }
}

async fn verify(client: &Client, arguments: &Arguments, output: &Output) -> Result<(), Failure> {
    let kept: Option<Checkpoint> = match &arguments.checkpoint {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| Failure::file("read", path, &error))?;
            Some(serde_json::from_str(&text).map_err(|error| {
                Failure::new(Exit::Invalid, format!("{} is no checkpoint", path.display()))
                    .because(&error)
                    .hint("it is the member `event` of a line of type checkpoint")
            })?)
        }
    };
    let report = client.verify_audit(kept.as_ref()).await.map_err(failed)?;
    output.answer(&report, || {
        format!(
            "the trail holds together: {} lines, {} of them under a signed checkpoint\nlast hash {}\n",
            report.lines, report.covered_lines, report.last_hash
        )
    });
    Ok(())
}

fn text(line: &Line) -> String {
    let what = match &line.event {
        Event::Started { .. } => "broker started".to_owned(),
        Event::Open { decision, reason, worker, grant, keys, leased } => {
            let verdict = match decision {
                Verdict::Sealed => "sealed",
                Verdict::Refused => "refused",
            };
            let asked = grant.as_ref().map_or_else(String::new, |asked| {
                format!(
                    " {} for run {} step {} of {}/{} mode {}",
                    asked.identity,
                    asked.attempt.run,
                    asked.attempt.step,
                    asked.namespace,
                    asked.workflow,
                    asked.mode
                )
            });
            let keys: Vec<String> =
                keys.iter().map(|key| format!("{} version {}", key.name, key.version)).collect();
            let keys = if keys.is_empty() { String::new() } else { format!("; keys {}", keys.join(", ")) };
            let leased: Vec<String> =
                leased.iter().map(|part| format!("; leased {} for {} s", part.id, part.seconds)).collect();
            format!("{verdict}{asked} to worker {worker}: {reason}{keys}{}", leased.concat())
        }
        Event::Stopped { .. } => "broker stopped".to_owned(),
        Event::Released { worker, grant } => format!("released grant {grant} by worker {worker}"),
        Event::Leased { worker, grant, lease } => {
            format!("lease {}:{} for grant {grant} of worker {worker}", lease.scheme, lease.id)
        }
        Event::LeaseEnded { scheme, lease, grant, reason } => {
            format!("lease {scheme}:{lease} of grant {grant} ended: {reason}")
        }
        Event::Changed { operator_uid, change } => {
            let detail = change.detail.as_ref().map_or_else(String::new, |detail| format!(": {detail}"));
            format!("{} {} by uid {operator_uid}{detail}", change.action, change.subject)
        }
        Event::ChangeFailed { seq, reason } => format!("the change of line {seq} failed: {reason}"),
        Event::Checkpoint(checkpoint) => format!("checkpoint over {} lines", checkpoint.seq),
    };
    format!("{} {} {}\n", line.seq, time(line.time_ms), safe_line(&what))
}
