//! Server, broker and worker on this machine, as separate processes that this one starts, watches and stops.
//!
//! It introduces them to each other as an operator would: the broker trusts the server's grant key and enrols the
//! worker's, and the worker joins the server with a join token.

mod part;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use control::api::model::{CreateJoinToken, CreatedJoinToken, Page, Worker};
use control::api::tokens;
use identity::admin;
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::client::Client;
use crate::config;
use crate::failure::Failure;
use crate::files;
use crate::ready::Ready;
use part::Part;

/// Name of the server in grants, and so at the broker.
const SERVER_NAME: &str = "sagewai";
/// Name of the worker.
const WORKER_NAME: &str = "local";
/// Seconds the worker's join token lives.
const JOIN_SECONDS: u32 = 600;
/// How long the worker may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(15);
/// How often the server is asked whether the worker is there.
const CONNECT_POLL: Duration = Duration::from_millis(10);
/// How long the worker may drain, and the others may end, before they are killed.
const STOP_LIMIT: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));

/// What to start.
#[derive(Clone, Debug)]
pub(crate) struct StackOptions {
    /// Folder of everything that is kept.
    pub(crate) data: PathBuf,
    /// Address of the server; port 0 takes a free one.
    pub(crate) listen: String,
    /// Address of the broker; port 0 takes a free one.
    pub(crate) broker_listen: String,
    /// Log filter of the processes.
    pub(crate) log: String,
    /// Configuration file, passed on.
    pub(crate) config: Option<PathBuf>,
    /// Further flags of the worker.
    pub(crate) worker_flags: Vec<OsString>,
}

/// The running processes. Dropped, it kills them.
pub(crate) struct Stack {
    worker: Part,
    server: Part,
    broker: Part,
    /// URL of the server.
    pub(crate) url: String,
    /// File with the admin token.
    pub(crate) token_file: PathBuf,
    /// The admin token, if it was made now: show it once.
    pub(crate) new_token: Option<Zeroizing<String>>,
    /// Folder of the broker.
    pub(crate) broker_folder: PathBuf,
    /// Held while the processes live: one stack per folder.
    _lock: std::fs::File,
}

impl Stack {
    /// Starts all and waits until the worker has joined.
    pub(crate) async fn start(options: &StackOptions) -> Result<Stack, Failure> {
        let data = &options.data;
        files::private_folder(data)?;
        let lock = lock(data)?;
        let (token_file, token, is_new) = admin_token(data)?;
        let token_sha256 = hex_hash(&token);
        let (broker, server) = tokio::join!(start_broker(options), start_server(options, &token_sha256));
        let ((broker, broker_ready), (server, server_ready)) = (broker?, server?);
        let url = format!("http://{}", server_ready.listen);
        files::replace(&data.join("cli/server"), format!("{url}\n").as_bytes(), 0o600)?;
        let broker_folder = data.join("broker");
        introduce(&broker_folder, &data.join("worker"), &server_ready.key).await?;
        let settings = config::Client { server: url.clone(), token_file: token_file.clone() };
        let client = Client::new(&settings)?;
        join_token(&client, &data.join("worker")).await?;
        let worker = start_worker(options, &url, &broker_ready).await?;
        let mut stack = Stack {
            worker,
            server,
            broker,
            url,
            token_file,
            new_token: is_new.then_some(token),
            broker_folder,
            _lock: lock,
        };
        stack.wait_for_worker(&client).await?;
        Ok(stack)
    }

    /// A client of the server with the admin token.
    pub(crate) fn client(&self) -> Result<Client, Failure> {
        Client::new(&config::Client { server: self.url.clone(), token_file: self.token_file.clone() })
    }

    /// Starts what ends again, for as long as this is awaited.
    pub(crate) async fn watch(&mut self) -> Result<(), Failure> {
        loop {
            let ended = tokio::select! {
                () = self.broker.ended() => &mut self.broker,
                () = self.server.ended() => &mut self.server,
                () = self.worker.ended() => &mut self.worker,
            };
            ended.start_again().await?;
        }
    }

    /// Stops the worker, then the server, then the broker, and waits until all have ended.
    pub(crate) async fn stop(&mut self) {
        self.worker.stop(STOP_LIMIT.0).await;
        self.server.stop(STOP_LIMIT.1).await;
        self.broker.stop(STOP_LIMIT.1).await;
    }

    /// Kills all.
    pub(crate) async fn kill(&mut self) {
        for part in [&mut self.worker, &mut self.server, &mut self.broker] {
            part.stop(Duration::ZERO).await;
        }
    }

    async fn wait_for_worker(&mut self, client: &Client) -> Result<(), Failure> {
        let connected = async {
            loop {
                let workers: Page<Worker> = client.get("/api/v1/workers").await?;
                if workers.items.iter().any(|worker| worker.connected && worker.name == WORKER_NAME) {
                    return Ok(());
                }
                tokio::time::sleep(CONNECT_POLL).await;
            }
        };
        tokio::select! {
            connected = connected => connected,
            () = self.worker.ended() => Err(Failure::failed("the worker ended before it had joined the server")
                .hint("its message is above; sagewai doctor checks this machine")),
            () = tokio::time::sleep(CONNECT_LIMIT) => {
                Err(Failure::failed(format!("the worker did not join within {} s", CONNECT_LIMIT.as_secs()))
                    .hint("start with --log info to see why"))
            }
        }
    }
}

fn lock(data: &Path) -> Result<std::fs::File, Failure> {
    let path = data.join("dev.lock");
    let file = std::fs::File::create(&path).map_err(|error| Failure::file("write", &path, &error))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        Failure::failed(format!("another sagewai dev uses {}", data.display()))
            .hint("stop it, or choose another folder with --data")
    })?;
    Ok(file)
}

/// The admin token of this folder: its file, its text, and whether it was made now.
fn admin_token(data: &Path) -> Result<(PathBuf, Zeroizing<String>, bool), Failure> {
    let folder = data.join("cli");
    files::private_folder(&folder)?;
    let path = folder.join("token");
    let is_new = !path.exists();
    let bytes =
        files::read_private_or_make(&path, || Zeroizing::new(tokens::new_secret("swt").into_bytes()))?;
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).trim().to_owned());
    Ok((path, text, is_new))
}

fn hex_hash(token: &str) -> String {
    store::blob::BlobId(tokens::hash(token)).to_string()
}

async fn start_broker(options: &StackOptions) -> Result<(Part, Ready), Failure> {
    let data = options.data.join("broker");
    let recovery = options.data.join("recovery.key");
    let mut arguments: Vec<OsString> = vec!["broker".into(), "--data".into(), data.into(), "--init".into()];
    arguments.extend([
        "--recovery-key-file".into(),
        recovery.into(),
        "--log".into(),
        options.log.clone().into(),
    ]);
    Part::start_ready("broker", arguments, "--listen", &options.broker_listen, options.config.as_deref())
        .await
}

async fn start_server(options: &StackOptions, token_sha256: &str) -> Result<(Part, Ready), Failure> {
    let data = options.data.join("server");
    let mut arguments: Vec<OsString> = vec!["server".into(), "--data".into(), data.into()];
    arguments
        .extend(["--admin-token-sha256", token_sha256, "--name", SERVER_NAME, "--log"].map(OsString::from));
    arguments.push(options.log.clone().into());
    Part::start_ready("server", arguments, "--listen", &options.listen, options.config.as_deref()).await
}

async fn start_worker(options: &StackOptions, url: &str, broker: &Ready) -> Result<Part, Failure> {
    let mut arguments: Vec<OsString> =
        vec!["worker".into(), "--data".into(), options.data.join("worker").into()];
    arguments.extend(["--server", url, "--name", WORKER_NAME, "--log", &options.log].map(OsString::from));
    arguments.extend(["--broker".into(), format!("http://{}", broker.listen).into()]);
    arguments.extend(["--broker-key".into(), broker.key.clone().into()]);
    arguments.extend(options.worker_flags.iter().cloned());
    Part::start("worker", arguments, options.config.as_deref())
}

/// Tells the broker whom to trust; the same again changes nothing.
async fn introduce(broker: &Path, worker: &Path, grant_key: &str) -> Result<(), Failure> {
    let failed = |error: admin::ClientError| {
        Failure::failed("failed to introduce server and worker to the broker")
            .because(&error)
            .hint("a key that changed must be removed first: sagewai identity server remove, sagewai identity worker remove")
    };
    let worker_key = crate::commands::worker_key(worker)?.public_key().to_string();
    let client = admin::Client::in_folder(broker);
    client.trust_server(SERVER_NAME, grant_key).await.map_err(failed)?;
    client.enrol_worker(WORKER_NAME, &worker_key).await.map_err(failed)
}

/// Leaves a join token for a worker that has no credential yet.
async fn join_token(client: &Client, worker: &Path) -> Result<(), Failure> {
    if worker.join(crate::commands::CREDENTIAL_FILE).exists() {
        return Ok(());
    }
    let request = CreateJoinToken { name: "dev".to_owned(), seconds: Some(JOIN_SECONDS) };
    let made: CreatedJoinToken = client.post("/api/v1/join-tokens", &request).await?;
    files::replace(&worker.join("join-token"), made.secret.as_bytes(), 0o600)
}
