//! `sagewai identity`: Sealed Identities, at the broker of this machine, over its private socket.

mod audit;
mod keys;
mod parties;
mod policy;

use std::path::PathBuf;

use clap::{Args, Subcommand};
use identity::admin::wire::{IdentityDetail, IdentitySummary, Status, StoreListing};
use identity::admin::{Client, ClientError};
use identity::builtin::Expect;
use identity::reference::{KeyName, ViewName};

use crate::cli::Globals;
use crate::config::{Broker, BrokerFlags, Layers};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{Output, Table, Tone};
use crate::process::small_runtime;

/// Arguments of `sagewai identity`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai identity set acme-prod DATABASE_URL --allow-namespace acme    asks for the value\n  \
    pass show db | sagewai identity set acme-prod DATABASE_URL --stdin\n  \
    sagewai identity view acme-prod reporting DATABASE_URL REGION\n  \
    sagewai identity policy vault:kv/sagewai/acme-prod --allow-namespace acme\n  \
    sagewai identity audit --verify\n\n\
    A document then says `identity: acme-prod/reporting`. Values are never given on the command line."
)]
pub(crate) struct Arguments {
    /// The broker's folder; the setting broker.data if absent.
    #[arg(long, global = true, value_name = "FOLDER")]
    broker_data: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Set a value: asked for without echo, or of standard input or a file
    #[command(
        after_help = "Examples:\n  sagewai identity set acme-prod API_TOKEN --allow-namespace acme\n  \
        sagewai identity set acme-prod REGION --plain --stdin <<< eu-west-1"
    )]
    Set {
        #[command(flatten)]
        key: keys::KeyArguments,
        /// A plain setting: it is not redacted in output.
        #[arg(long)]
        plain: bool,
        /// For a new identity: the namespace whose workflows may use it; nobody may if absent.
        #[arg(long, value_name = "NAMESPACE")]
        allow_namespace: Option<String>,
    },
    /// Replace a value that is there; steps get the new one at their next start
    #[command(after_help = "Examples:\n  sagewai identity rotate acme-prod API_TOKEN --stdin < new-token")]
    Rotate {
        #[command(flatten)]
        key: keys::KeyArguments,
    },
    /// List the identities
    List,
    /// List what the identity backends beside the builtin file hold
    Stores,
    /// Show an identity: names, versions, views, policy; never a value
    Show {
        /// Name of the identity.
        name: String,
    },
    /// Remove an identity with all its values, or one key or view of it
    #[command(
        after_help = "Examples:\n  sagewai identity remove acme-prod\n  sagewai identity remove acme-prod --key API_TOKEN\n  \
        sagewai identity remove acme-prod --view reporting"
    )]
    Remove {
        /// Name of the identity.
        name: String,
        /// Only this key.
        #[arg(long, conflicts_with = "view")]
        key: Option<String>,
        /// Only this view.
        #[arg(long)]
        view: Option<String>,
    },
    /// Make a view: the keys that a step gets with NAME/VIEW
    #[command(after_help = "Examples:\n  sagewai identity view acme-prod reporting DATABASE_URL REGION")]
    View {
        /// Name of the identity.
        name: String,
        /// Name of the view.
        view: String,
        /// Keys in it.
        #[arg(required = true)]
        keys: Vec<String>,
    },
    /// Refuse an identity from the next grant on
    #[command(after_help = "Examples:\n  sagewai identity revoke acme-prod --reason 'token in a public log'")]
    Revoke {
        /// Name of the identity.
        name: String,
        /// Why, for the audit trail; no secret.
        #[arg(long)]
        reason: String,
    },
    /// End a revocation
    Restore {
        /// Name of the identity.
        name: String,
    },
    /// Show or set who may use an identity
    Policy(policy::Arguments),
    /// Read the audit trail, or verify it
    Audit(audit::Arguments),
    /// The workers that may ask this broker
    Worker {
        #[command(subcommand)]
        command: parties::PartyCommand,
    },
    /// The servers whose grants this broker trusts
    Server {
        #[command(subcommand)]
        command: parties::PartyCommand,
    },
    /// Encrypt the values with a new data key
    RotateDataKey,
    /// Show the broker's public key and what it does about its own memory
    Status,
}

pub(super) fn run(arguments: Arguments, globals: &Globals, output: &Output) -> Result<Exit, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    let flags = BrokerFlags { data: arguments.broker_data, ..BrokerFlags::default() };
    let settings = Broker::resolve(&layers, &flags)?;
    let client = Client::in_folder(&settings.data);
    small_runtime()?.block_on(run_command(&client, arguments.command, output))?;
    Ok(Exit::Ok)
}

async fn run_command(client: &Client, command: Command, output: &Output) -> Result<(), Failure> {
    match command {
        Command::Set { key, plain, allow_namespace } => {
            keys::set(client, &key, !plain, Expect::Any, allow_namespace.as_deref(), output).await
        }
        Command::Rotate { key } => keys::rotate(client, &key, output).await,
        Command::List => list(client, output).await,
        Command::Stores => stores(client, output).await,
        Command::Show { name } => show(client, &name, output).await,
        Command::Remove { name, key, view } => keys::remove(client, &name, key, view, output).await,
        Command::View { name, view, keys } => {
            let keys: Vec<KeyName> = keys.iter().map(|key| parse("key", key)).collect::<Result<_, _>>()?;
            client
                .set_view(&parse("identity", &name)?, &parse::<ViewName>("view", &view)?, &keys)
                .await
                .map_err(failed)?;
            output.remark(&format!("a document uses it as `identity: {name}/{view}`"));
            Ok(())
        }
        Command::Revoke { name, reason } => {
            let answer = client.revoke(&parse("identity", &name)?, &reason, false).await.map_err(failed)?;
            output.answer(&answer, || {
                let mut text = format!("{name} is refused from now on\n");
                for holder in &answer.holders {
                    text.push_str(&format!(
                        "still held by run {} step {}: sagewai runs cancel {}\n",
                        holder.run, holder.step, holder.run
                    ));
                }
                text
            });
            Ok(())
        }
        Command::Restore { name } => {
            client.restore(&parse("identity", &name)?).await.map_err(failed)?;
            output.remark(&format!("{name} may be used again, as its policy says"));
            Ok(())
        }
        Command::Policy(arguments) => policy::run(client, &arguments, output).await,
        Command::Audit(arguments) => audit::run(client, &arguments, output).await,
        Command::Worker { command } => parties::worker(client, command, output).await,
        Command::Server { command } => parties::server(client, command, output).await,
        Command::RotateDataKey => {
            client.rotate_data_key(None).await.map_err(failed)?;
            output.remark("all values are encrypted with a new data key");
            Ok(())
        }
        Command::Status => status(client, output).await,
    }
}

async fn list(client: &Client, output: &Output) -> Result<(), Failure> {
    let identities: Vec<IdentitySummary> = client.identities().await.map_err(failed)?;
    output.answer(&identities, || {
        let mut table = Table::new(&["IDENTITY", "KEYS", "VIEWS", "STATE"]);
        for identity in &identities {
            let views: Vec<&str> = identity.views.iter().map(ViewName::as_str).collect();
            let (state, tone) =
                if identity.revoked { ("revoked", Tone::Bad) } else { ("in use", Tone::Good) };
            table.row([
                (identity.name.to_string(), None),
                (identity.keys.map_or_else(|| "-".to_owned(), |keys| keys.to_string()), None),
                (if views.is_empty() { "-".to_owned() } else { views.join(",") }, None),
                (state.to_owned(), Some(tone)),
            ]);
        }
        if table.is_empty() {
            "no identities; make one: sagewai identity set NAME KEY\n".to_owned()
        } else {
            table.render(output.paint)
        }
    });
    Ok(())
}

async fn stores(client: &Client, output: &Output) -> Result<(), Failure> {
    let listings: Vec<StoreListing> = client.stores().await.map_err(failed)?;
    output.answer(&listings, || {
        let mut table = Table::new(&["IDENTITY", "STATE"]);
        for listing in &listings {
            for identity in &listing.identities {
                table.row([(identity.to_string(), None), ("listed".to_owned(), Some(Tone::Good))]);
            }
            if let Some(problem) = &listing.problem {
                let problem = crate::output::safe_line(problem).to_string();
                table.row([(format!("{}:", listing.store), None), (problem, Some(Tone::Bad))]);
            }
        }
        if table.is_empty() {
            "no identity backend beside the builtin file lists any; they are set up in backends.toml\n"
                .to_owned()
        } else {
            table.render(output.paint)
        }
    });
    Ok(())
}

async fn show(client: &Client, name: &str, output: &Output) -> Result<(), Failure> {
    let detail: IdentityDetail = client.identity(&parse("identity", name)?).await.map_err(failed)?;
    output.answer(&detail, || detail_text(&detail, output));
    Ok(())
}

fn detail_text(detail: &IdentityDetail, output: &Output) -> String {
    let mut text = format!("identity {}\n", detail.description.name);
    if let Some(revocation) = &detail.revoked {
        text.push_str(&format!(
            "revoked  {} ({})\n",
            time(revocation.since_ms),
            crate::output::safe_line(&revocation.reason)
        ));
    }
    for holder in &detail.holders {
        text.push_str(&format!(
            "held by  run {} step {} attempt {}\n",
            holder.run, holder.step, holder.attempt
        ));
    }
    // The number is what a log shows in the place of a value: [REDACTED:n].
    let mut keys = Table::new(&["KEY", "KIND", "VERSION", "SET", "IN VIEWS"]);
    for key in &detail.description.keys {
        let views = detail.description.views.iter().filter(|view| view.keys.contains(&key.name));
        let views: Vec<&str> = views.map(|view| view.name.as_str()).collect();
        keys.plain([
            key.name.to_string(),
            if key.secret { "secret" } else { "plain" }.to_owned(),
            key.version.to_string(),
            key.updated_ms.map_or_else(|| "-".to_owned(), time),
            if views.is_empty() { "-".to_owned() } else { views.join(",") },
        ]);
    }
    text.push('\n');
    text.push_str(&keys.render(output.paint));
    text.push_str(&format!("\n{}", policy::text(&detail.policy, output)));
    text
}

async fn status(client: &Client, output: &Output) -> Result<(), Failure> {
    let status: Status = client.status().await.map_err(failed)?;
    output.answer(&status, || {
        let mut text = format!("public key  {}\n", status.broker_key);
        for recipient in &status.recipients {
            text.push_str(&format!("unlocked by {recipient}\n"));
        }
        let mut table = Table::new(&["LAYER", "STATE", "DETAIL"]);
        for layer in &status.layers {
            let (state, tone) =
                if layer.enforced { ("enforced", Tone::Good) } else { ("absent", Tone::Warn) };
            table.row([
                (layer.name.clone(), None),
                (state.to_owned(), Some(tone)),
                (layer.detail.clone(), None),
            ]);
        }
        text.push('\n');
        text.push_str(&table.render(output.paint));
        text
    });
    Ok(())
}

fn time(milliseconds: i64) -> String {
    control::api::model::Time(protocol::id::Timestamp(milliseconds)).to_string()
}

/// A name from the command line.
fn parse<T: std::str::FromStr<Err: std::error::Error>>(what: &str, text: &str) -> Result<T, Failure> {
    text.parse().map_err(|error: T::Err| {
        Failure::usage(format!("`{text}` is no name of a {what}"))
            .because(&error)
            .hint("sagewai identity --help has examples")
    })
}

/// The broker refused, or cannot be asked.
fn failed(error: ClientError) -> Failure {
    match &error {
        ClientError::Connect { .. } | ClientError::Timeout => {
            Failure::new(Exit::Unreachable, "cannot reach the broker")
                .because(&error)
                .hint("start one with `sagewai dev`, or name the folder of another with --broker-data")
        }
        ClientError::Refused(problem) => {
            let (exit, hint) = match problem.status {
                404 => (Exit::NotFound, "sagewai identity list shows the identities"),
                409 => (Exit::Conflict, "sagewai identity show NAME shows what is there"),
                400 | 413 | 422 => (Exit::Invalid, "sagewai identity --help has examples"),
                _ => (Exit::Refused, "the broker's log and audit trail have more"),
            };
            Failure::new(exit, problem.detail.clone()).hint(hint)
        }
        ClientError::Protocol(_) => Failure::failed("failed to talk to the broker")
            .because(&error)
            .hint("compare the versions of broker and CLI"),
    }
}
