//! `sagewai completions`: a completion script.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::cli::Cli;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;

/// Arguments of `sagewai completions`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    sagewai completions bash > ~/.local/share/bash-completion/completions/sagewai\n  \
    sagewai completions zsh > ~/.zfunc/_sagewai")]
pub(crate) struct Arguments {
    /// The shell.
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "sagewai", &mut script);
    output::write_bytes(&script);
    Ok(Exit::Ok)
}
