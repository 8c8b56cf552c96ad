//! Starting the broker: folder, keys, builtin file, journal, both APIs; and stopping it so that what was begun is finished and
//! the audit trail's end is signed.

use std::future::Future;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::watch;

use super::admin_api::{self, Admin, Peer};
use super::backends::Backends;
use super::core::Broker;
use super::folder::{self, FolderError};
use super::harden::{Layer, harden};
use super::journal::{Journal, JournalError};
use super::listen::{LIMITS, serve_http};
use super::single_use::{UsedLog, UsedLogError};
use super::trust::{Trust, TrustError};
use super::worker_api;
use crate::audit::log::LogError;
use crate::audit::outstanding::outstanding;
use crate::audit::verify::{AuditFault, verify_folder};
use crate::audit::{AuditLog, Event};
use crate::builtin::file::BuiltinError;
use crate::builtin::unlock::UnlockError;
use crate::builtin::{BuiltinFile, Unlock};
use crate::disk::DiskError;
use crate::external::config::{Config, ConfigError};
use crate::external::open::OpenError;

/// How long requests may go on after the broker was told to stop, seconds.
pub const STOP_SECONDS: u64 = 5;

/// How a broker runs.
pub struct BrokerConfig {
    /// Its state folder; see [`super::folder`].
    pub folder: PathBuf,
    /// Where workers connect; port 0 takes a free one. Plain HTTP: put it on loopback, or behind a TLS proxy.
    pub listen: SocketAddr,
    /// Where the operator's key is.
    pub unlock: Unlock,
}

impl BrokerConfig {
    /// A broker in `folder` on a free port of loopback, unlocked by the key file that [`super::init`] made.
    pub fn in_folder(folder: &Path) -> Self {
        BrokerConfig {
            folder: folder.into(),
            listen: ([127, 0, 0, 1], 0).into(),
            unlock: Unlock::KeyFile { path: folder.join(folder::OPERATOR_KEY_FILE), passphrase: None },
        }
    }
}

/// A broker that answers.
#[derive(Clone, Debug)]
pub struct Ready {
    /// Where workers connect.
    pub worker_address: SocketAddr,
    /// The admin socket.
    pub admin_socket: PathBuf,
    /// The broker's public key, base64url: what guests check sealed messages with.
    pub broker_key: String,
    /// What the process does about its own memory.
    pub layers: Vec<Layer>,
}

/// Why the broker did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The folder or a key in it.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// It was never initialised.
    #[error("{} is no broker's folder: initialise it first", .0.display())]
    NotInitialised(PathBuf),
    /// The operator's key.
    #[error(transparent)]
    Unlock(#[from] UnlockError),
    /// The builtin file.
    #[error(transparent)]
    Builtin(#[from] BuiltinError),
    /// `backends.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A store of `backends.toml`.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Workers and servers.
    #[error(transparent)]
    Trust(#[from] TrustError),
    /// The log of used grants.
    #[error(transparent)]
    Used(#[from] UsedLogError),
    /// The audit trail.
    #[error(transparent)]
    Audit(#[from] LogError),
    /// The audit trail does not verify.
    #[error(
        "the audit trail does not hold together: {0}; keep it aside for an investigation, then start with a new one"
    )]
    AuditFault(#[from] AuditFault),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// A socket.
    #[error("cannot listen on {place}")]
    Listen {
        /// Address or path.
        place: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A thread could not be started.
    #[error("the journal's thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// Runs a broker until `stop` ends. `ready` is called once, when both APIs answer.
pub async fn serve(
    config: BrokerConfig,
    ready: impl FnOnce(Ready),
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let layers = harden();
    let broker = open_broker(&config)?;
    let listener = TcpListener::bind(config.listen).await.map_err(cannot_listen(&config.listen))?;
    let worker_address = listener.local_addr().map_err(cannot_listen(&config.listen))?;
    let admin_socket = config.folder.join(folder::ADMIN_SOCKET);
    let admin_listener = listen_privately(&admin_socket)?;
    broker.journal.record(None, Event::Started { file_counter: broker.builtin.counter() }).await?;

    let (stopping, _) = watch::channel(false);
    let workers =
        serve_http(listener, worker_api::router(broker.clone()), LIMITS, stopped(stopping.subscribe()));
    let admin =
        Admin { broker: broker.clone(), folder: config.folder.clone(), layers: Arc::new(layers.clone()) };
    let admin = admin_api::router(admin).into_make_service_with_connect_info::<Peer>();
    let operators = axum::serve(admin_listener, admin).with_graceful_shutdown(stopped(stopping.subscribe()));
    let mut serving = tokio::spawn(async move { tokio::join!(workers, operators) });
    let tending = broker.clone();
    let tending = tokio::spawn(async move { tending.tend_leases().await });

    let broker_key = broker.public_key().to_string();
    tracing::info!(%worker_address, broker_key, "the broker answers");
    ready(Ready { worker_address, admin_socket: admin_socket.clone(), broker_key, layers });
    stop.await;

    let _ = stopping.send(true);
    if tokio::time::timeout(Duration::from_secs(STOP_SECONDS), &mut serving).await.is_err() {
        tracing::warn!(seconds = STOP_SECONDS, "requests that did not end were dropped");
        serving.abort();
        let _ = serving.await;
    }
    // Leases are left as they are: their steps may live on, and the next broker goes on with them.
    tending.abort();
    let _ = tending.await;
    let _ = std::fs::remove_file(&admin_socket);
    let stopped = Event::Stopped { file_counter: broker.builtin.counter() };
    if let Err(error) = broker.journal.record(None, stopped).await {
        tracing::error!(%error, "the stop could not be recorded");
    }
    // The last holder of the broker: its journal writes what waits and signs the trail's end.
    drop(broker);
    tracing::info!("the broker stopped");
    Ok(())
}

/// Milliseconds since the Unix epoch.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Opens everything in the folder. The builtin file comes first: it holds the lock that keeps a second broker out.
fn open_broker(config: &BrokerConfig) -> Result<Arc<Broker>, ServeError> {
    let folder = &config.folder;
    if !folder::is_initialised(folder) {
        return Err(ServeError::NotInitialised(folder.clone()));
    }
    let key = folder::broker_key(folder)?;
    let stores = Config::read(folder)?;
    let outstanding = outstanding(folder, now_ms());
    let builtin =
        BuiltinFile::open(folder, &config.unlock.operator_key()?, outstanding.file_counter).map(Arc::new)?;
    let backends = Backends::open(builtin.clone(), &stores)?;
    let trust = Trust::open(folder)?;
    let (used_log, used) = UsedLog::open(folder)?;
    let audit = AuditLog::open(folder, key.clone())?;
    verify_folder(folder, &key.public_key(), None)?;
    let used = Arc::new(Mutex::new(used));
    let journal = Journal::start(audit, used_log, used.clone(), now_ms).map_err(ServeError::Thread)?;
    let broker = Broker::new(builtin, backends, trust, journal, used, key);
    broker.resume(outstanding);
    Ok(Arc::new(broker))
}

/// The socket is made in a folder that only this user may enter, so that there is no moment in which others can connect.
fn listen_privately(path: &Path) -> Result<UnixListener, ServeError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(FolderError::Disk(DiskError::io("remove", path)(error)).into());
        }
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(cannot_listen(&path.display()))?;
    let private = std::fs::Permissions::from_mode(0o600);
    std::fs::set_permissions(path, private).map_err(cannot_listen(&path.display()))?;
    Ok(listener)
}

fn cannot_listen(place: &dyn std::fmt::Display) -> impl FnOnce(std::io::Error) -> ServeError {
    let place = place.to_string();
    move |source| ServeError::Listen { place, source }
}

async fn stopped(mut stopping: watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
