//! `sagewai workers`: the fleet.

use clap::{Args, Subcommand};
use control::api::model::{CreateJoinToken, CreatedJoinToken, JoinToken, Page, Worker};
use http::Method;

use super::client;
use crate::cli::Globals;
use crate::client::encoded;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table, Tone, since};
use crate::process::{now, small_runtime};

/// Arguments of `sagewai workers`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the enrolled workers
    #[command(after_help = "Examples:\n  sagewai workers list\n  sagewai workers list --output json")]
    List,
    /// Tell a worker to finish what it holds and to take no more
    #[command(after_help = "Examples:\n  sagewai workers drain build-7")]
    Drain {
        /// Name of the worker.
        name: String,
    },
    /// Let a drained worker take steps again, from when it connects the next time
    #[command(after_help = "Examples:\n  sagewai workers undrain build-7")]
    Undrain {
        /// Name of the worker.
        name: String,
    },
    /// Take a worker's credential away; what it holds is handed out again
    #[command(after_help = "Examples:\n  sagewai workers remove build-7")]
    Remove {
        /// Name of the worker.
        name: String,
    },
    /// Make, list and revoke the tokens that workers enrol with
    JoinToken {
        #[command(subcommand)]
        command: JoinTokenCommand,
    },
}

#[derive(Debug, Subcommand)]
enum JoinTokenCommand {
    /// Make a join token; it is shown once
    #[command(
        after_help = "Examples:\n  sagewai workers join-token create rack-1 --seconds 600 > join-token\n  \
        sagewai worker --server http://10.0.0.5:7420 --join-token-file join-token"
    )]
    Create {
        /// What it is for.
        name: String,
        /// Seconds it lives; an hour if absent.
        #[arg(long)]
        seconds: Option<u32>,
    },
    /// List the join tokens, without their texts
    List,
    /// Revoke a join token; workers that enrolled with it stay
    Revoke {
        /// Its id.
        id: String,
    },
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let client = client(globals)?;
    small_runtime()?.block_on(async {
        match arguments.command {
            Command::List => {
                let page: Page<Worker> = client.get("/api/v1/workers").await?;
                output.answer(&page.items, || workers_text(&page.items, output));
            }
            Command::Drain { name } => {
                client.act(Method::POST, &format!("/api/v1/workers/{}/drain", encoded(&name))).await?;
                output.remark(&format!("worker {name} drains: it finishes what it holds and takes no more"));
            }
            Command::Undrain { name } => {
                client.act(Method::POST, &format!("/api/v1/workers/{}/undrain", encoded(&name))).await?;
                output.remark(&format!("worker {name} takes steps again from its next start"));
            }
            Command::Remove { name } => {
                client.act(Method::DELETE, &format!("/api/v1/workers/{}", encoded(&name))).await?;
                output.remark(&format!("worker {name} is removed"));
            }
            Command::JoinToken { command: JoinTokenCommand::Create { name, seconds } } => {
                let made: CreatedJoinToken =
                    client.post("/api/v1/join-tokens", &CreateJoinToken { name, seconds }).await?;
                output.answer(&made, || format!("{}\n", made.secret));
                output
                    .remark("it is not shown again: put it in a file for `sagewai worker --join-token-file`");
            }
            Command::JoinToken { command: JoinTokenCommand::List } => {
                let page: Page<JoinToken> = client.get("/api/v1/join-tokens").await?;
                output.answer(&page.items, || join_tokens_text(&page.items, output));
            }
            Command::JoinToken { command: JoinTokenCommand::Revoke { id } } => {
                client.act(Method::DELETE, &format!("/api/v1/join-tokens/{}", encoded(&id))).await?;
                output.remark(&format!("join token {id} is revoked"));
            }
        }
        Ok(Exit::Ok)
    })
}

fn workers_text(workers: &[Worker], output: &Output) -> String {
    let mut table =
        Table::new(&["WORKER", "STATE", "STEPS", "MODES", "SANDBOXES", "LABELS", "SEEN", "VERSION"]);
    for worker in workers {
        let (state, tone) = match (worker.connected, worker.draining) {
            (true, false) => ("connected", Tone::Good),
            (true, true) => ("draining", Tone::Warn),
            (false, true) => ("drained", Tone::Dim),
            (false, false) => ("away", Tone::Bad),
        };
        let labels: Vec<String> = worker.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        let seen = worker
            .last_seen
            .map_or_else(|| "never".to_owned(), |seen| format!("{} ago", since(seen, None, now())));
        table.row([
            (worker.name.clone(), None),
            (state.to_owned(), Some(tone)),
            (format!("{}/{}", worker.running, worker.slots), None),
            (or_dash(&worker.modes.join(",")), None),
            (or_dash(&worker.sandboxes.join(",")), None),
            (or_dash(&labels.join(",")), None),
            (seen, None),
            (or_dash(&worker.version), None),
        ]);
    }
    if table.is_empty() {
        return "no workers; enrol one: sagewai workers join-token create NAME, then sagewai worker\n"
            .to_owned();
    }
    table.render(output.paint)
}

fn join_tokens_text(tokens: &[JoinToken], output: &Output) -> String {
    let mut table = Table::new(&["ID", "NAME", "CREATED", "EXPIRES"]);
    for token in tokens {
        let expires = token.expires.map_or_else(|| "never".to_owned(), |time| time.to_string());
        table.plain([token.id.clone(), token.name.clone(), token.created.to_string(), expires]);
    }
    if table.is_empty() { "no join tokens\n".to_owned() } else { table.render(output.paint) }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
