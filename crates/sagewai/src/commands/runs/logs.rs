//! `sagewai runs logs`: what the steps wrote.

use std::collections::BTreeMap;
use std::io::IsTerminal;

use clap::Args;
use control::api::model::LogLine;

use crate::client::{Client, encoded};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, safe_text, write_bytes};
use crate::process::asked_to_stop;

/// Times in a row that a followed log may be cut before the command gives up.
const RECONNECT_LIMIT: u32 = 20;

/// Arguments of `sagewai runs logs`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai runs logs 0192f0c1-…\n  sagewai runs logs 0192f0c1-… --step 3 --follow\n  \
    sagewai runs logs 0192f0c1-… --output json\n\n\
    On a terminal, control characters of the steps are written out."
)]
pub(crate) struct Arguments {
    /// Id of the run.
    id: String,
    /// Only of this step.
    #[arg(long)]
    step: Option<u32>,
    /// Go on until the run has ended.
    #[arg(long, short)]
    follow: bool,
}

pub(super) async fn run(client: &Client, arguments: &Arguments, output: &Output) -> Result<Exit, Failure> {
    let step = arguments.step.map_or_else(String::new, |step| format!("&step={step}"));
    let path = format!("/api/v1/runs/{}/logs?follow={}{step}", encoded(&arguments.id), arguments.follow);
    let mut printer = Printer::new(*output, arguments.step.is_none());
    if arguments.follow {
        tokio::select! {
            followed = follow(client, &path, &mut printer) => followed,
            stopped = asked_to_stop() => { stopped?; Ok(Exit::Interrupted) }
        }
    } else {
        let mut rest = Vec::new();
        client
            .download(&path, |part| {
                rest.extend_from_slice(part);
                while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if let Ok(line) = serde_json::from_slice(&line) {
                        printer.print(&line);
                    }
                }
                Ok(())
            })
            .await?;
        printer.finish();
        Ok(Exit::Ok)
    }
}

async fn follow(client: &Client, path: &str, printer: &mut Printer) -> Result<Exit, Failure> {
    let mut cuts = 0;
    loop {
        let mut events = client.events(path).await?;
        while let Some(event) = events.next().await {
            if event.name == "end" {
                printer.finish();
                return Ok(Exit::Ok);
            }
            if let Ok(line) = serde_json::from_str(&event.data) {
                printer.print(&line);
                cuts = 0;
            }
        }
        cuts += 1;
        if cuts > RECONNECT_LIMIT {
            return Err(Failure::new(Exit::Unreachable, "the stream of logs was cut again and again")
                .hint("try again"));
        }
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    }
}

/// Prints pieces of logs, each once: a stream that was opened again begins anew.
struct Printer {
    output: Output,
    /// Whether lines begin with the step that wrote them.
    names_steps: bool,
    terminal: bool,
    /// Per step and attempt, the number of the last piece.
    seen: BTreeMap<(u32, u32), u64>,
    /// Per step and stream, a line that has not ended.
    open: BTreeMap<(u32, String), Vec<u8>>,
}

impl Printer {
    fn new(output: Output, names_steps: bool) -> Self {
        let terminal = std::io::stdout().is_terminal();
        Printer { output, names_steps, terminal, seen: BTreeMap::new(), open: BTreeMap::new() }
    }

    fn print(&mut self, line: &LogLine) {
        let number = line.position.rsplit('.').next().and_then(|number| number.parse::<u64>().ok());
        let last = self.seen.get(&(line.step, line.attempt)).copied();
        if let Some(number) = number {
            if last.is_some_and(|last| number <= last) {
                return;
            }
            self.seen.insert((line.step, line.attempt), number);
        }
        if self.output.is_json() {
            self.output.item(line, String::new);
            return;
        }
        let open = self.open.entry((line.step, line.stream.clone())).or_default();
        open.extend_from_slice(&line.bytes());
        let whole: Vec<u8> = match open.iter().rposition(|byte| *byte == b'\n') {
            Some(end) => open.drain(..=end).collect(),
            None => return,
        };
        self.lines(line.step, &line.stream, &whole);
    }

    /// Prints what has no line break yet.
    fn finish(&mut self) {
        for ((step, stream), mut rest) in std::mem::take(&mut self.open) {
            if !rest.is_empty() {
                rest.push(b'\n');
                self.lines(step, &stream, &rest);
            }
        }
    }

    fn lines(&self, step: u32, stream: &str, bytes: &[u8]) {
        let mut printed = Vec::with_capacity(bytes.len());
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if self.names_steps || stream == "platform" {
                let mark = if stream == "platform" { " sagewai" } else { "" };
                printed.extend_from_slice(format!("[{step}{mark}] ").as_bytes());
            }
            if self.terminal {
                printed.extend_from_slice(safe_text(&String::from_utf8_lossy(line)).as_bytes());
            } else {
                printed.extend_from_slice(line);
            }
        }
        write_bytes(&printed);
    }
}
