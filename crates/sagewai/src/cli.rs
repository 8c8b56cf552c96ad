//! The command line: global flags, and the list of subcommands.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::exit;

/// Runs AI-agent workflows: each step where it belongs, secrets sealed to the sandbox that needs them.
#[derive(Debug, Parser)]
#[command(name = "sagewai", version, max_term_width = 110, after_help = AFTER_HELP, after_long_help = exit::help(AFTER_HELP))]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) globals: Globals,
    #[command(subcommand)]
    pub(crate) command: Command,
}

const AFTER_HELP: &str = concat!(
    "Examples:\n",
    "  sagewai demo                          one run through all modes, nothing to install\n",
    "  sagewai dev                           server, broker and worker on this machine\n",
    "  sagewai run workflow.yaml --follow    submit a run and watch its steps\n\n",
    "Environment:\n",
    "  SAGEWAI_SERVER, SAGEWAI_TOKEN_FILE, SAGEWAI_CONFIG, NO_COLOR; `sagewai config show` lists all settings"
);

/// Flags of every command.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Globals {
    /// URL of the server.
    #[arg(long, global = true, value_name = "URL")]
    pub(crate) server: Option<String>,
    /// File with the API token.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Form of the output: text for people, json for programs (a line per object in streams).
    #[arg(long, global = true, value_name = "FORM", value_enum)]
    pub(crate) output: Option<Form>,
    /// Configuration file.
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// Form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run server, broker and worker on this machine, as separate processes
    Dev(commands::dev::Arguments),
    /// Run one workflow through modes 0 to 3, on this machine, and show the timeline
    Demo(commands::demo::Arguments),
    /// Submit a run
    Run(commands::run::Arguments),
    /// List, show and control runs; read their logs and artifacts
    Runs(commands::runs::Arguments),
    /// Validate, publish and list workflow documents
    Workflow(commands::workflow::Arguments),
    /// List and drain workers; make join tokens
    Workers(commands::workers::Arguments),
    /// Create, list and revoke API tokens
    Token(commands::token::Arguments),
    /// Manage Sealed Identities at the broker of this machine
    Identity(commands::identity::Arguments),
    /// Set up sandbox backends that need it: AWS Lambda, Kubernetes
    #[cfg(feature = "lambda")]
    Sandbox(commands::sandbox::Arguments),
    /// Run the control plane
    Server(commands::server::Arguments),
    /// Run the identity broker
    Broker(commands::broker::Arguments),
    /// Run a worker
    Worker(commands::worker::Arguments),
    /// Check this machine: sandbox layers, cgroups, disk, server and broker
    Doctor(commands::doctor::Arguments),
    /// Show the effective configuration and where each value comes from
    Config(commands::config::Arguments),
    /// Print a completion script for a shell
    Completions(commands::completions::Arguments),
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keys are base64url: one in 64 begins with a hyphen, and is no flag.
    #[test]
    fn a_key_may_begin_with_a_hyphen() {
        let lines: [&[&str]; 3] = [
            &["worker", "--broker-key", "-JTIlR92x1qyHzIiQQWgSv60xhNDD9KV709mzXW8FNU", "--log", "info"],
            &["identity", "worker", "trust", "build-7", "-JTIlR92x1qyHzIiQQWgSv60xhNDD9KV709mzXW8FNU"],
            &["run", "-", "--idempotency-key", "-JTIl", "--output", "json"],
        ];
        for line in lines {
            let parsed = Cli::try_parse_from(["sagewai"].iter().chain(line));
            assert!(parsed.is_ok(), "{line:?}: {}", parsed.unwrap_err());
        }
    }
}
