//! The subcommands, a file each.

pub(crate) mod broker;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod demo;
pub(crate) mod dev;
pub(crate) mod doctor;
pub(crate) mod identity;
pub(crate) mod run;
pub(crate) mod runs;
#[cfg(feature = "lambda")]
pub(crate) mod sandbox;
pub(crate) mod server;
pub(crate) mod token;
pub(crate) mod worker;
pub(crate) mod workers;
pub(crate) mod workflow;

use crate::cli::{Cli, Command, Globals};
use crate::client::Client;
use crate::config::{self as configuration, Layers};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::Output;

pub(crate) use worker::{CREDENTIAL_FILE, key as worker_key};

/// Runs the command of this command line.
pub(crate) fn run(cli: Cli, output: &Output) -> Result<Exit, Failure> {
    let globals = &cli.globals;
    match cli.command {
        Command::Dev(arguments) => dev::run(&arguments, globals, output),
        Command::Demo(arguments) => demo::run(&arguments, globals, output),
        Command::Run(arguments) => run::run(&arguments, globals, output),
        Command::Runs(arguments) => runs::run(arguments, globals, output),
        Command::Workflow(arguments) => workflow::run(arguments, globals, output),
        Command::Workers(arguments) => workers::run(arguments, globals, output),
        Command::Token(arguments) => token::run(arguments, globals, output),
        Command::Identity(arguments) => identity::run(arguments, globals, output),
        #[cfg(feature = "lambda")]
        Command::Sandbox(arguments) => sandbox::run(arguments, globals, output),
        Command::Server(arguments) => server::run(&arguments, globals),
        Command::Broker(arguments) => broker::run(&arguments, globals),
        Command::Worker(arguments) => worker::run(&arguments, globals),
        Command::Doctor(arguments) => doctor::run(&arguments, globals, output),
        Command::Config(arguments) => config::run(&arguments, globals, output),
        Command::Completions(arguments) => completions::run(&arguments),
    }
}

/// A client of the configured server.
fn client(globals: &Globals) -> Result<Client, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    Client::new(&configuration::Client::resolve(&layers, globals)?)
}
