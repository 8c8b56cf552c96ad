//! The workers and servers that a broker accepts.

use clap::Subcommand;
use identity::admin::Client;
use identity::admin::wire::Party;

use super::{failed, time};
use crate::failure::Failure;
use crate::files;
use crate::output::{Output, Table};

/// What to do about one.
#[derive(Debug, Subcommand)]
pub(super) enum PartyCommand {
    /// Accept a public key under a name
    #[command(
        alias = "enrol",
        after_help = "Examples:\n  sagewai identity worker trust build-7 @worker.pub\n  \
        sagewai identity server trust sagewai @/var/lib/sagewai/server/grant.pub"
    )]
    Trust {
        /// Its name.
        name: String,
        /// Its public key, or @FILE.
        #[arg(allow_hyphen_values = true)]
        key: String,
    },
    /// List them
    List,
    /// Accept it no longer
    Remove {
        /// Its name.
        name: String,
    },
}

/// Workers.
pub(super) async fn worker(client: &Client, command: PartyCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PartyCommand::Trust { name, key } => {
            client.enrol_worker(&name, files::text_or_file(&key)?.trim()).await.map_err(failed)?;
            output.remark(&format!("worker {name} may ask this broker"));
        }
        PartyCommand::Remove { name } => {
            client.remove_worker(&name).await.map_err(failed)?;
            output.remark(&format!("worker {name} may not ask this broker any more"));
        }
        PartyCommand::List => parties(&client.workers().await.map_err(failed)?, output),
    }
    Ok(())
}

/// Servers.
pub(super) async fn server(client: &Client, command: PartyCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PartyCommand::Trust { name, key } => {
            client.trust_server(&name, files::text_or_file(&key)?.trim()).await.map_err(failed)?;
            output.remark(&format!("grants of server {name} are trusted"));
        }
        PartyCommand::Remove { name } => {
            client.remove_server(&name).await.map_err(failed)?;
            output.remark(&format!("grants of server {name} are not trusted any more"));
        }
        PartyCommand::List => parties(&client.servers().await.map_err(failed)?, output),
    }
    Ok(())
}

fn parties(parties: &[Party], output: &Output) {
    output.answer(&parties, || {
        let mut table = Table::new(&["NAME", "PUBLIC KEY", "SINCE"]);
        for party in parties {
            table.plain([party.name.clone(), party.key.clone(), time(party.since_ms)]);
        }
        if table.is_empty() { "none\n".to_owned() } else { table.render(output.paint) }
    });
}
