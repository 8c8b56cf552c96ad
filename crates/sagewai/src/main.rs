//! The sagewai binary: it reads the command line, and each subcommand is a file of `commands`.
//!
//! No thread and no runtime exist until a command needs one: the command line starts in a few milliseconds, and the
//! worker's spawner must be forked from a process with one thread.

mod cli;
mod client;
mod commands;
mod config;
mod exit;
mod failure;
mod files;
mod output;
mod process;
mod ready;
mod sandboxes;
mod secret_input;
mod stack;

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    let cli = match cli::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return output::usage_error(&error),
    };
    let output = output::Output::new(&cli.globals);
    match commands::run(cli, &output) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.failure(&failure);
            failure.exit.into()
        }
    }
}
