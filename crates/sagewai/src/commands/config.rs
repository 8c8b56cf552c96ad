//! `sagewai config show`: every setting, its value, and where the value comes from.

use clap::{Args, Subcommand};

use crate::cli::Globals;
use crate::config::{
    Broker, BrokerFlags, Client, Dev, DevFlags, KEYS, Layers, Server, ServerFlags, Worker, WorkerFlags,
};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table};

/// Arguments of `sagewai config`.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show every setting, its value, and where the value comes from
    #[command(after_help = "Examples:\n  \
        sagewai config show\n  sagewai config show worker\n  sagewai config show --output json\n\n\
        A setting is set, the last wins, by the file, the environment (SAGEWAI_WORKER_SLOTS) or a flag (--slots).\n\
        The file is --config, $SAGEWAI_CONFIG, or ~/.config/sagewai/config.toml:\n\n  \
        [worker]\n  slots = 16\n  labels = { zone = \"a\" }\n\n\
        Secrets are never settings: they are read from files, a prompt or standard input.")]
    Show {
        /// Only this part: client, server, broker, worker or dev.
        part: Option<String>,
        /// Say also what each setting is.
        #[arg(long)]
        describe: bool,
    },
}

pub(super) fn run(arguments: &Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let Command::Show { part, describe } = &arguments.command;
    let layers = Layers::read(globals.config.as_deref())?;
    Client::resolve(&layers, globals)?;
    Server::resolve(&layers, &ServerFlags::default())?;
    Broker::resolve(&layers, &BrokerFlags::default())?;
    Worker::resolve(&layers, globals, &WorkerFlags::default())?;
    Dev::resolve(&layers, &DevFlags::default())?;
    let mut rows = layers.rows();
    rows.sort_by_key(|row| KEYS.iter().position(|key| key.name == row.key));
    if let Some(part) = part {
        rows.retain(|row| row.key.split('.').next() == Some(part));
        if rows.is_empty() {
            return Err(Failure::usage(format!("`{part}` is no part of the configuration"))
                .hint("the parts are client, server, broker, worker and dev"));
        }
    }
    output.answer(&rows, || {
        let mut table = Table::new(&["SETTING", "VALUE", "FROM", if *describe { "WHAT" } else { "" }]);
        for row in &rows {
            let value = if row.value.is_empty() { "-" } else { &row.value };
            let about = if *describe { row.about } else { "" };
            table.plain([&row.key, value, &row.source, about]);
        }
        table.render(output.paint)
    });
    Ok(Exit::Ok)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_shown() {
        let layers = Layers::read(None).unwrap();
        let globals = Globals::default();
        Client::resolve(&layers, &globals).unwrap();
        Server::resolve(&layers, &ServerFlags::default()).unwrap();
        Broker::resolve(&layers, &BrokerFlags::default()).unwrap();
        Worker::resolve(&layers, &globals, &WorkerFlags::default()).unwrap();
        Dev::resolve(&layers, &DevFlags::default()).unwrap();
        let shown: std::collections::BTreeSet<String> =
            layers.rows().into_iter().map(|row| row.key).collect();
        let known: std::collections::BTreeSet<String> = KEYS.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(shown, known);
    }
}
