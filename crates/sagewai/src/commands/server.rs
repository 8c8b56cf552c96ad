//! `sagewai server`: the control plane.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use clap::Args;
use control::api::tokens;
use control::{Control, ControlConfig, GrantKey};
use store::Store;
use store::blob::Blobs;
use store::sqlite::{SqliteOptions, SqliteStore};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use zeroize::Zeroizing;

use crate::cli::Globals;
use crate::config::{Layers, Server, ServerFlags};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::files;
use crate::process::{asked_to_stop, end_with_parent, server_runtime, start_log};
use crate::ready::{self, Ready};

/// File of the grant key in the server's folder: 32 bytes, the seed of an Ed25519 key.
const GRANT_KEY_FILE: &str = "grant.key";
/// File of the grant key's public half, for `sagewai identity server trust`.
const GRANT_PUBLIC_FILE: &str = "grant.pub";
/// How long requests may go on after the server was told to stop.
const STOP_LIMIT: Duration = Duration::from_secs(3);
/// How often unused blobs are looked for, and how old one must be to go.
const SWEEP: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(24 * 3600));

/// Arguments of `sagewai server`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  sagewai server --data /var/lib/sagewai/server\n  \
    sagewai server --listen 0.0.0.0:7420      behind a proxy that speaks TLS\n\n\
    The first start prints an admin token, once. The broker must trust the server's grant key:\n  \
    sagewai identity server trust sagewai @/var/lib/sagewai/server/grant.pub")]
pub(crate) struct Arguments {
    #[command(flatten)]
    flags: ServerFlags,
    /// SHA-256, hex, of an admin token that is to exist; whoever starts the server keeps the token.
    #[arg(long, value_name = "HEX")]
    admin_token_sha256: Option<String>,
    #[command(flatten)]
    child: ready::ChildFlags,
}

pub(super) fn run(arguments: &Arguments, globals: &Globals) -> Result<Exit, Failure> {
    let layers = Layers::read(globals.config.as_deref())?;
    let settings = Server::resolve(&layers, &arguments.flags)?;
    end_with_parent(arguments.child.parent)?;
    start_log(&settings.log)?;
    server_runtime()?.block_on(serve(&settings, arguments))?;
    Ok(Exit::Ok)
}

async fn serve(settings: &Server, arguments: &Arguments) -> Result<(), Failure> {
    files::private_folder(&settings.data)?;
    let (store, blobs) = open_store(&settings.data)?;
    let first_token = admin_token(&*store, arguments.admin_token_sha256.as_deref()).await?;
    let (seed, grant_key) = grant_key(&settings.data)?;
    let config = ControlConfig {
        server: settings.name.clone(),
        grant_key: Some(GrantKey::from_seed(*seed)),
        lease: settings.lease.duration(),
        heartbeat: settings.heartbeat.duration(),
        keep_runs: settings.keep_runs.policy(),
        ..ControlConfig::default()
    };
    let (control, mut driving) = control::start(config, Arc::clone(&store)).await.map_err(|error| {
        Failure::failed("failed to start the control plane")
            .because(&error)
            .hint("its store must be readable and have space")
    })?;
    let listener = listen(&settings.listen).await?;
    let address = listener
        .local_addr()
        .map_err(|error| Failure::failed("failed to listen").because(&error).hint("try again"))?;
    let stop = Arc::new(Notify::new());
    let serving = tokio::spawn({
        let stop = Arc::clone(&stop);
        let router = router(control, blobs.clone());
        async move { control::listen::serve(listener, router, async move { stop.notified().await }).await }
    });
    let sweeping = tokio::spawn(sweep(store, blobs));
    ready::say(
        arguments.child.ready_line,
        &Ready { listen: address.to_string(), key: grant_key, socket: None },
        || {
            let token = first_token
                .as_deref()
                .map_or_else(String::new, |token| format!("admin token, shown once: {token}\n"));
            format!("{token}server listens on http://{address}\n")
        },
    );
    let ended = tokio::select! {
        stopped = asked_to_stop() => stopped,
        _ = &mut driving => Err(Failure::failed("a part of the control plane failed").hint("its log has the cause; start the server again")),
    };
    // Streams of runs and workers have no end of their own: what is left after the limit is cut, and clients reconnect.
    stop.notify_one();
    let aborted = serving.abort_handle();
    if tokio::time::timeout(STOP_LIMIT, serving).await.is_err() {
        aborted.abort();
    }
    sweeping.abort();
    driving.abort();
    let _ = driving.await;
    ended
}

/// REST and the workers' gRPC on one port.
fn router(control: Control, blobs: Blobs) -> axum::Router {
    let workers = control::workers::service(control.clone(), blobs.clone());
    control::api::router(control, blobs).route_service("/sagewai.worker.v1.WorkerService/{*rpc}", workers)
}

fn open_store(data: &Path) -> Result<(Arc<dyn Store>, Blobs), Failure> {
    let failed = |error: &dyn std::error::Error| {
        Failure::failed(format!("failed to open the data in {}", data.display()))
            .because(error)
            .hint("each server has a data folder of its own: --data FOLDER")
    };
    let blobs = Blobs::folder(&data.join("blobs")).map_err(|error| failed(&error))?;
    let options = SqliteOptions::at(data.join("sagewai.db"));
    let store = SqliteStore::open(&options, blobs.clone()).map_err(|error| failed(&error))?;
    Ok((Arc::new(store), blobs))
}

/// Makes sure that there is an admin token; the text of one that had to be made, to be shown once.
async fn admin_token(store: &dyn Store, sha256: Option<&str>) -> Result<Option<Zeroizing<String>>, Failure> {
    let failed = |error: store::StoreError| {
        Failure::failed("failed to store the admin token").because(&error).hint("check the disk")
    };
    if let Some(hex) = sha256 {
        let hash = hex.parse::<store::blob::BlobId>().map_err(|error| {
            Failure::usage("--admin-token-sha256 is wrong")
                .because(&error)
                .hint("printf %s TOKEN | sha256sum")
        })?;
        tokens::ensure_admin(store, "first", hash.0).await.map_err(failed)?;
        return Ok(None);
    }
    if !store.tokens().await.map_err(failed)?.is_empty() {
        return Ok(None);
    }
    let token = Zeroizing::new(tokens::new_secret("swt"));
    tokens::ensure_admin(store, "first", tokens::hash(&token)).await.map_err(failed)?;
    Ok(Some(token))
}

/// The seed of the key that signs grants, made at the first start, and the public half as text.
fn grant_key(data: &Path) -> Result<(Zeroizing<[u8; 32]>, String), Failure> {
    let path = data.join(GRANT_KEY_FILE);
    let bytes = files::read_private_or_make(&path, || Zeroizing::new(tokens::random_bytes::<32>().to_vec()))?;
    let seed: [u8; 32] = bytes.as_slice().try_into().map_err(|_| {
        Failure::failed(format!(
            "{} is not a grant key: it has {} bytes, not 32",
            path.display(),
            bytes.len()
        ))
        .hint("restore it from a backup; or remove it, and have the broker trust the new one")
    })?;
    let public = seal::SigningKey::from_seed(&seed).public_key().to_string();
    files::replace(&data.join(GRANT_PUBLIC_FILE), format!("{public}\n").as_bytes(), 0o644)?;
    Ok((Zeroizing::new(seed), public))
}

pub(super) async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|error| {
        let hint = match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                "another process listens there: stop it, or choose another address with --listen"
            }
            std::io::ErrorKind::InvalidInput => "an address looks like 127.0.0.1:7420",
            _ => "choose another address with --listen, such as 127.0.0.1:0 for a free port",
        };
        Failure::failed(format!("failed to listen on {address}")).because(&error).hint(hint)
    })
}

async fn sweep(store: Arc<dyn Store>, blobs: Blobs) {
    loop {
        tokio::time::sleep(SWEEP.0).await;
        match blobs.sweep(&*store, SystemTime::now(), SWEEP.1).await {
            Ok(0) => {}
            Ok(deleted) => tracing::info!(deleted, "unused blobs were deleted"),
            Err(error) => tracing::warn!(%error, "unused blobs could not be looked for; trying again later"),
        }
    }
}
