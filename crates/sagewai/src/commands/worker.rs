//! `sagewai worker`: takes steps and runs them.

use std::path::Path;
use std::sync::Arc;

use clap::Args;
use protocol::frame::Layer;
use sandbox::CancellationToken;
use sandbox::egress::OperatorPolicy;
use sandbox::pool::{Pool, PoolConfig};
use seal::{PublicKey, SigningKey};
use worker::{BrokerAccess, Capacity, WorkerConfig, WorkerError};
use zeroize::Zeroizing;

use crate::cli::Globals;
use crate::config::{Layers, List, Worker, WorkerFlags};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::process::{asked_to_stop, end_with_parent, server_runtime, start_log};
use crate::sandboxes::{self, Absent, Early, Kind};
use crate::{files, ready};

/// File of the worker's credential at the server, in its folder.
pub(crate) const CREDENTIAL_FILE: &str = "credential";
/// Bytes of the worker's public key that name it at daemons.
const OWNER_BYTES: usize = 8;
/// File of the worker's key for the broker: Ed25519, PKCS#8 PEM.
const KEY_FILE: &str = "worker.key";

/// Arguments of `sagewai worker`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  sagewai worker --server http://10.0.0.5:7420 --join-token-file join-token\n  \
    sagewai worker --broker http://10.0.0.6:7421 --broker-key @broker.pub --labels zone=a,gpu=1 --slots 16\n  \
    sagewai worker --agents /etc/sagewai/agents --allow-private db.internal:5432 --layers seccomp,landlock,cgroup\n\n\
    --sandbox namespace,docker offers both: a step's `backend` chooses, else the first that can do what it needs.\n\
    SIGTERM drains: the worker finishes what it holds, takes no more, and ends."
)]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: WorkerFlags,
    /// Print the worker's public key and end; the broker's operator enrols it.
    #[arg(long)]
    show_key: bool,
    #[command(flatten)]
    child: ready::ChildFlags,
}

pub(super) fn run(arguments: &Arguments, globals: &Globals) -> Result<Exit, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    let settings = Worker::resolve(&layers, globals, &arguments.flags)?;
    let required = required_layers(&settings.layers)?;
    end_with_parent(arguments.child.parent)?;
    if arguments.show_key {
        crate::output::write(&format!("{}\n", key(&settings.data)?.public_key()));
        return Ok(Exit::Ok);
    }
    let kinds = sandboxes::kinds(&settings.sandboxes)?;
    // First of all, while this process has one thread.
    let early = Early::prepare(&kinds, &settings.sandbox_path, &settings.sandbox);
    start_log(&settings.log)?;
    server_runtime()?.block_on(work(settings, &kinds, early, required))?;
    Ok(Exit::Ok)
}

async fn work(settings: Worker, kinds: &[Kind], early: Early, required: Vec<Layer>) -> Result<(), Failure> {
    files::private_folder(&settings.data)?;
    let credential = credential(&settings).await?;
    let pools = pools(&settings, kinds, early, &required)?;
    let shutdown = CancellationToken::new();
    let config = config(&settings, &credential)?;
    let running = worker::run(config, pools.clone(), shutdown.clone());
    tokio::pin!(running);
    let ended = tokio::select! {
        ended = &mut running => ended,
        stopped = asked_to_stop() => {
            stopped?;
            tracing::info!("draining: the worker finishes what it holds; a second signal stops it at once");
            shutdown.cancel();
            tokio::select! {
                ended = &mut running => ended,
                again = asked_to_stop() => { again?; Ok(()) }
            }
        }
    };
    for pool in pools {
        pool.shutdown().await;
    }
    ended.map_err(|error| {
        let refused = matches!(error, WorkerError::Refused { .. });
        let failure = Failure::failed("the worker stopped").because(&error);
        if refused {
            let hint = format!(
                "remove {} and start with a new join token",
                settings.data.join(CREDENTIAL_FILE).display()
            );
            return Failure { exit: Exit::Refused, ..failure }.hint(hint);
        }
        failure.hint("sagewai doctor checks this machine and the server")
    })
}

/// A pool for each sandbox backend that is there, best first. Without any, the worker takes steps of mode 0 only.
fn pools(
    settings: &Worker,
    kinds: &[Kind],
    mut early: Early,
    required: &[Layer],
) -> Result<Vec<Arc<Pool>>, Failure> {
    let owner = owner(&settings.data)?;
    let mut pools = Vec::new();
    for kind in kinds {
        match early.make(*kind, &settings.sandbox, &owner) {
            Ok(backend) => {
                let config = PoolConfig {
                    max_warm: if kind.waits_for_free() { settings.warm as usize } else { 0 },
                    required: required.to_vec(),
                    create_limit: kind.create_limit(&settings.sandbox),
                    ..PoolConfig::default()
                };
                pools.push(Pool::new(backend, config));
            }
            Err(Absent { reason, remedy }) => {
                eprintln!("warning: no sandbox backend `{kind}`: {reason}\nhint: {remedy}");
            }
        }
    }
    if pools.is_empty() {
        eprintln!("warning: no sandboxes, so only steps of mode 0");
    }
    Ok(pools)
}

/// What tells this worker's sandboxes from others' at a daemon that it shares: the beginning of its public key, which
/// stays the same over restarts.
fn owner(data: &Path) -> Result<String, Failure> {
    let public = key(data)?.public_key().to_bytes();
    Ok(public.iter().take(OWNER_BYTES).map(|byte| format!("{byte:02x}")).collect())
}

fn config(settings: &Worker, credential: &str) -> Result<WorkerConfig, Failure> {
    let egress = OperatorPolicy::parse(&settings.allow_private.0).map_err(|error| {
        Failure::usage("--allow-private is wrong").because(&error).hint("as in db.internal:5432,10.0.0.0/8")
    })?;
    let agents = match &settings.agents {
        Some(folder) => worker::agent::load(folder).map_err(|error| {
            Failure::usage("failed to load the manifests of CLI agents")
                .because(&error)
                .hint("each is a TOML file in that folder")
        })?,
        None => Vec::new(),
    };
    let scratch = settings.data.join("scratch");
    files::private_folder(&scratch)?;
    Ok(WorkerConfig {
        server: settings.server.clone(),
        name: settings.name.clone(),
        credential: credential.to_owned(),
        labels: settings.labels.0.clone(),
        capacity: Capacity { slots: settings.slots.max(1), step_timeout: settings.step_timeout.duration() },
        bare_run: settings.allow_bare,
        broker: broker(settings)?,
        agents,
        egress,
        scratch,
    })
}

fn broker(settings: &Worker) -> Result<Option<BrokerAccess>, Failure> {
    if settings.broker.is_empty() {
        return Ok(None);
    }
    let hint = "the broker prints its public key when it starts; sagewai identity status shows it";
    let text = files::text_or_file(&settings.broker_key)?;
    let public_key = PublicKey::from_text(text.trim())
        .map_err(|error| Failure::usage("--broker-key is not a public key").because(&error).hint(hint))?
        .to_bytes();
    let signer = Arc::new(key(&settings.data)?);
    Ok(Some(BrokerAccess { url: settings.broker.clone(), public_key, signer }))
}

/// The worker's key for the broker, made at the first start.
pub(crate) fn key(data: &Path) -> Result<SigningKey, Failure> {
    files::private_folder(data)?;
    let path = data.join(KEY_FILE);
    let failed = |error: &dyn std::error::Error| {
        Failure::failed(format!("{} is not a worker's key", path.display()))
            .because(error)
            .hint("remove it, start the worker again, and enrol the new key at the broker")
    };
    let made = SigningKey::generate().map_err(|error| failed(&error))?;
    let bytes = files::read_private_or_make(&path, || Zeroizing::new(made.to_pem().as_bytes().to_vec()))?;
    SigningKey::from_file_bytes(&bytes).map_err(|error| failed(&error))
}

/// The credential at the server: kept from the first start, else traded for the join token.
async fn credential(settings: &Worker) -> Result<Zeroizing<String>, Failure> {
    let path = settings.data.join(CREDENTIAL_FILE);
    if path.exists() {
        let text = files::read_private(&path)?;
        return Ok(Zeroizing::new(String::from_utf8_lossy(&text).trim().to_owned()));
    }
    let hint =
        "make one with `sagewai workers join-token create NAME` and name its file with --join-token-file";
    let token = files::read_private(&settings.join_token_file).map_err(|failure| failure.hint(hint))?;
    let token = Zeroizing::new(String::from_utf8_lossy(&token).trim().to_owned());
    let (name, credential) =
        worker::enrol(&settings.server, &token, &settings.name).await.map_err(|error| {
            Failure { exit: Exit::Refused, ..Failure::failed("the worker is not enrolled").because(&error) }
                .hint(hint)
        })?;
    let credential = Zeroizing::new(credential);
    files::create_private(&path, credential.as_bytes())?;
    tracing::info!(worker = name, "enrolled");
    Ok(credential)
}

fn required_layers(names: &List) -> Result<Vec<Layer>, Failure> {
    let layer = |name: &String| {
        serde_json::from_value(serde_json::Value::String(name.clone())).map_err(|_| {
            Failure::usage(format!("`{name}` is no isolation layer")).hint("sagewai doctor lists the layers")
        })
    };
    names.0.iter().map(layer).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_are_named_as_doctor_names_them() {
        let names = List(vec!["seccomp".to_owned(), "undumpable-guest".to_owned()]);
        assert_eq!(required_layers(&names).unwrap(), [Layer::Seccomp, Layer::UndumpableGuest]);
        assert!(required_layers(&List(vec!["moat".to_owned()])).is_err());
    }
}
