//! `sagewai broker`: the identity broker.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use identity::broker::folder::{OPERATOR_KEY_FILE, is_initialised};
use identity::broker::{self, BrokerConfig};
use identity::builtin::Unlock;

use crate::cli::Globals;
use crate::config::{Broker, BrokerFlags, Layers};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::process::{asked_to_stop, end_with_parent, server_runtime, start_log};
use crate::ready::{self, Ready};
use crate::{files, secret_input};

/// Arguments of `sagewai broker`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai broker --init --recovery-key-file /media/usb/recovery.key\n  sagewai broker --listen 127.0.0.1:7421\n  \
    sagewai broker --unlock-credential sagewai-operator     the key as a systemd credential\n\n\
    The recovery key opens the identities where the operator's key is lost: keep it away from this machine."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: BrokerFlags,
    /// Make the folder if it is new: the broker's key, the operator's key, an empty identity file.
    #[arg(long, requires = "recovery_key_file")]
    init: bool,
    /// Where --init writes the recovery key; it must not exist.
    #[arg(long, value_name = "FILE")]
    recovery_key_file: Option<PathBuf>,
    /// With --init: ask for a passphrase that protects the operator's key.
    #[arg(long, requires = "init")]
    passphrase: bool,
    /// Take the operator's key from the systemd credential of this name, not from the folder.
    #[arg(long, value_name = "NAME")]
    unlock_credential: Option<String>,
    #[command(flatten)]
    child: ready::ChildFlags,
}

pub(super) fn run(arguments: &Arguments, globals: &Globals) -> Result<Exit, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    let settings = Broker::resolve(&layers, &arguments.flags)?;
    end_with_parent(arguments.child.parent)?;
    start_log(&settings.log)?;
    if let (true, Some(file)) =
        (arguments.init && !is_initialised(&settings.data), &arguments.recovery_key_file)
    {
        initialise(&settings, file, arguments.passphrase)?;
    }
    let config = config(&settings, arguments.unlock_credential.as_deref())?;
    server_runtime()?.block_on(serve(config, arguments.child.ready_line))?;
    Ok(Exit::Ok)
}

fn initialise(
    settings: &Broker,
    recovery_key_file: &std::path::Path,
    passphrase: bool,
) -> Result<(), Failure> {
    let passphrase = if passphrase { Some(secret_input::new_passphrase()?) } else { None };
    let keep = |key: &zeroize::Zeroizing<String>| files::create_private(recovery_key_file, key.as_bytes());
    broker::init(&settings.data, passphrase, keep).map_err(|error| match error {
        broker::InitError::Keep(failure) => failure,
        broker::InitError::Folder(error) => {
            Failure::failed(format!("failed to make the broker's folder {}", settings.data.display()))
                .because(&error)
                .hint("check the disk and the owner of the folder")
        }
    })
}

fn config(settings: &Broker, credential: Option<&str>) -> Result<BrokerConfig, Failure> {
    let listen: SocketAddr = settings.listen.parse().map_err(|error| {
        Failure::usage(format!("`{}` is not an address", settings.listen))
            .because(&error)
            .hint("it looks like 127.0.0.1:7421")
    })?;
    let unlock = match credential {
        Some(name) => Unlock::Credential { name: name.to_owned() },
        None => Unlock::KeyFile {
            path: settings.data.join(OPERATOR_KEY_FILE),
            passphrase: Some(Box::new(|| secret_input::ask("Passphrase of the operator's key: "))),
        },
    };
    Ok(BrokerConfig { folder: settings.data.clone(), listen, unlock })
}

async fn serve(config: BrokerConfig, ready_line: bool) -> Result<(), Failure> {
    let folder = config.folder.clone();
    let say = |ready: broker::Ready| {
        let facts = Ready {
            listen: ready.worker_address.to_string(),
            key: ready.broker_key.clone(),
            socket: Some(ready.admin_socket.clone()),
        };
        ready::say(ready_line, &facts, || {
            format!(
                "broker listens on http://{}\nadmin socket {}\npublic key {}\n",
                ready.worker_address,
                ready.admin_socket.display(),
                ready.broker_key
            )
        });
    };
    let stop = async {
        let _ = asked_to_stop().await;
    };
    broker::serve(config, say, stop).await.map_err(|error| {
        let hint = match &error {
            broker::ServeError::NotInitialised(_) => {
                "make it once: sagewai broker --init --recovery-key-file FILE".to_owned()
            }
            broker::ServeError::Listen { .. } => "choose another address with --listen".to_owned(),
            _ => format!("the state of the broker is in {}", folder.display()),
        };
        Failure::failed("the broker stopped").because(&error).hint(hint)
    })
}
