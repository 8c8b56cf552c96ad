//! What each process is configured with, as types, with the defaults.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::layers::{Layers, user_folder};
use super::sandboxes::{SandboxSettings, default_sandboxes};
use super::values::{KeepRuns, List, Pairs, Seconds};
use crate::cli::Globals;
use crate::exit::Exit;
use crate::failure::Failure;

const SERVER_LISTEN: &str = "127.0.0.1:7420";
const BROKER_LISTEN: &str = "127.0.0.1:7421";
const LOG: &str = "info";
/// Bytes of a token's file; a larger one is no token.
const TOKEN_FILE_LIMIT_BYTES: u64 = 4096;

/// `$XDG_DATA_HOME/sagewai`, or `~/.local/share/sagewai`, or `/var/lib/sagewai` where there is no HOME.
pub(crate) fn default_data_folder() -> PathBuf {
    user_folder("XDG_DATA_HOME", ".local/share")
        .map_or_else(|| PathBuf::from("/var/lib/sagewai"), |f| f.join("sagewai"))
}

/// What commands that talk to a server need.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) server: String,
    pub(crate) token_file: PathBuf,
}

impl Client {
    pub(crate) fn resolve(layers: &Layers, globals: &Globals) -> Result<Client, Failure> {
        let dev = default_data_folder().join("cli");
        let server = layers.pick("client.server", globals.server.clone(), || dev_server(&dev))?;
        let token_file = path(layers, "client.token-file", globals.token_file.clone(), || dev.join("token"))?;
        Ok(Client { server, token_file })
    }

    /// The API token.
    pub(crate) fn read_token(&self) -> Result<Zeroizing<String>, Failure> {
        let path = &self.token_file;
        let hint = "`sagewai dev` writes one; for another server, put a token of `sagewai token create` into a file and name it \
                    with --token-file";
        let metadata = std::fs::metadata(path);
        if let Ok(metadata) = &metadata
            && metadata.permissions().mode() & 0o077 != 0
        {
            // Not refused: what an orchestrator mounts as a secret is often readable for all of its container.
            eprintln!("warning: others may read the API token in {}; chmod 600 it", path.display());
        }
        let size = metadata.map(|metadata| metadata.len());
        let text = size.and_then(|size| match size {
            0..=TOKEN_FILE_LIMIT_BYTES => std::fs::read_to_string(path),
            _ => Err(std::io::Error::other("the file is too large to be a token")),
        });
        let text = Zeroizing::new(text.map_err(|error| {
            Failure { exit: Exit::Refused, ..Failure::file("read the API token", path, &error) }.hint(hint)
        })?);
        let token = text.trim();
        if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(Failure::new(Exit::Refused, format!("{} holds no token", path.display())).hint(hint));
        }
        Ok(Zeroizing::new(token.to_owned()))
    }
}

/// The server that `sagewai dev` noted, so that other terminals need no flag.
fn dev_server(folder: &Path) -> String {
    let noted = std::fs::read_to_string(folder.join("server")).map(|text| text.trim().to_owned());
    noted.ok().filter(|text| !text.is_empty()).unwrap_or_else(|| format!("http://{SERVER_LISTEN}"))
}

/// Flags of `sagewai server`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct ServerFlags {
    /// Address of the REST API and of the workers' gRPC.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Folder of the database, the blobs and the grant key.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Name of this server in grants.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// Seconds a silent worker keeps its steps.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) lease: Option<Seconds>,
    /// Seconds between a worker's heartbeats.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) heartbeat: Option<Seconds>,
    /// How long ended runs are kept (90d, 12h) and how many at most (1000000), with a comma between; or all.
    #[arg(long, value_name = "TIME,COUNT")]
    pub(crate) keep_runs: Option<KeepRuns>,
    /// Log filter: a level, or pairs such as info,control=debug.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// The control plane.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) listen: String,
    pub(crate) data: PathBuf,
    pub(crate) name: String,
    pub(crate) lease: Seconds,
    pub(crate) heartbeat: Seconds,
    pub(crate) keep_runs: KeepRuns,
    pub(crate) log: String,
}

impl Server {
    pub(crate) fn resolve(layers: &Layers, flags: &ServerFlags) -> Result<Server, Failure> {
        let flags = flags.clone();
        let server = Server {
            listen: layers.pick("server.listen", flags.listen, || SERVER_LISTEN.to_owned())?,
            data: path(layers, "server.data", flags.data, || default_data_folder().join("server"))?,
            name: layers.pick("server.name", flags.name, || "sagewai".to_owned())?,
            lease: layers.pick("server.lease", flags.lease, || Seconds(15))?,
            heartbeat: layers.pick("server.heartbeat", flags.heartbeat, || Seconds(5))?,
            keep_runs: layers.pick("server.keep-runs", flags.keep_runs, KeepRuns::default)?,
            log: layers.pick("server.log", flags.log, || LOG.to_owned())?,
        };
        if server.heartbeat.0 * 2 > server.lease.0 {
            let message =
                format!("server.lease ({}) is less than two heartbeats ({})", server.lease, server.heartbeat);
            return Err(Failure::usage(message).hint("a lease of three heartbeats survives a lost one"));
        }
        Ok(server)
    }
}

/// Flags of `sagewai broker`.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct BrokerFlags {
    /// Address of the workers' API.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Folder of the builtin identities, the audit trail and the admin socket.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Log filter: a level, or pairs such as info,identity=debug.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// The identity broker.
#[derive(Debug)]
pub(crate) struct Broker {
    pub(crate) listen: String,
    pub(crate) data: PathBuf,
    pub(crate) log: String,
}

impl Broker {
    pub(crate) fn resolve(layers: &Layers, flags: &BrokerFlags) -> Result<Broker, Failure> {
        let flags = flags.clone();
        Ok(Broker {
            listen: layers.pick("broker.listen", flags.listen, || BROKER_LISTEN.to_owned())?,
            data: path(layers, "broker.data", flags.data, || default_data_folder().join("broker"))?,
            log: layers.pick("broker.log", flags.log, || LOG.to_owned())?,
        })
    }
}

/// Flags of `sagewai worker`. `--server` is global.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct WorkerFlags {
    /// URL of the broker; without one the worker takes no step with an identity.
    #[arg(long, value_name = "URL")]
    pub(crate) broker: Option<String>,
    /// The broker's public key, or a file with it.
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    pub(crate) broker_key: Option<String>,
    /// Folder of the worker's credential and key.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Name of the worker, unique at the server.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// File with the join token, for the first start.
    #[arg(long, value_name = "FILE")]
    pub(crate) join_token_file: Option<PathBuf>,
    /// Labels that steps may require: key=value,key=value.
    #[arg(long, value_name = "LABELS")]
    pub(crate) labels: Option<Pairs>,
    /// Steps at once.
    #[arg(long, value_name = "COUNT")]
    pub(crate) slots: Option<u32>,
    /// Seconds a step may take, if its document says nothing.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) step_timeout: Option<Seconds>,
    /// Allow `run` tasks in mode 0: they may do all that this user may.
    #[arg(long, num_args = 0, default_missing_value = "true")]
    pub(crate) allow_bare: Option<bool>,
    /// Folder of the manifests of CLI agents.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) agents: Option<PathBuf>,
    /// Private destinations that steps may name: host:port or network, separated by commas.
    #[arg(long, value_name = "LIST")]
    pub(crate) allow_private: Option<List>,
    /// Sandbox backends, best first, separated by commas: namespace, docker, kubernetes, lambda.
    #[arg(long, value_name = "NAMES")]
    pub(crate) sandbox: Option<List>,
    /// Host folders that sandboxes see read-only beside the system's, separated by commas.
    #[arg(long, value_name = "FOLDERS")]
    pub(crate) sandbox_path: Option<List>,
    /// Isolation layers that must hold, separated by commas; `sagewai doctor` lists them.
    #[arg(long, value_name = "LAYERS")]
    pub(crate) layers: Option<List>,
    /// Sandboxes kept warm at most.
    #[arg(long, value_name = "COUNT")]
    pub(crate) warm: Option<u32>,
    /// Log filter: a level, or pairs such as info,worker=debug.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// A worker.
#[derive(Debug)]
pub(crate) struct Worker {
    pub(crate) server: String,
    pub(crate) broker: String,
    pub(crate) broker_key: String,
    pub(crate) data: PathBuf,
    pub(crate) name: String,
    pub(crate) join_token_file: PathBuf,
    pub(crate) labels: Pairs,
    pub(crate) slots: u32,
    pub(crate) step_timeout: Seconds,
    pub(crate) allow_bare: bool,
    pub(crate) agents: Option<PathBuf>,
    pub(crate) allow_private: List,
    pub(crate) sandboxes: List,
    pub(crate) sandbox: SandboxSettings,
    pub(crate) sandbox_path: List,
    pub(crate) layers: List,
    pub(crate) warm: u32,
    pub(crate) log: String,
}

impl Worker {
    pub(crate) fn resolve(
        layers: &Layers,
        globals: &Globals,
        flags: &WorkerFlags,
    ) -> Result<Worker, Failure> {
        let flags = flags.clone();
        let data = path(layers, "worker.data", flags.data, || default_data_folder().join("worker"))?;
        let join = data.join("join-token");
        let agents = path(layers, "worker.agents", flags.agents, PathBuf::new)?;
        Ok(Worker {
            server: layers
                .pick("worker.server", globals.server.clone(), || format!("http://{SERVER_LISTEN}"))?,
            broker: layers.pick("worker.broker", flags.broker, String::new)?,
            broker_key: layers.pick("worker.broker-key", flags.broker_key, String::new)?,
            name: layers.pick("worker.name", flags.name, host_name)?,
            join_token_file: path(layers, "worker.join-token-file", flags.join_token_file, || join)?,
            labels: layers.pick("worker.labels", flags.labels, Pairs::default)?,
            slots: layers.pick("worker.slots", flags.slots, || worker::DEFAULT_SLOTS)?,
            step_timeout: layers.pick("worker.step-timeout", flags.step_timeout, || {
                Seconds(worker::DEFAULT_STEP_TIMEOUT.as_secs())
            })?,
            allow_bare: layers.pick("worker.allow-bare", flags.allow_bare, || false)?,
            agents: (!agents.as_os_str().is_empty()).then_some(agents),
            allow_private: layers.pick("worker.allow-private", flags.allow_private, List::default)?,
            sandboxes: layers.pick("worker.sandboxes", flags.sandbox, default_sandboxes)?,
            sandbox: SandboxSettings::resolve(layers)?,
            sandbox_path: layers.pick("worker.sandbox-path", flags.sandbox_path, List::default)?,
            layers: layers.pick("worker.layers", flags.layers, List::default)?,
            warm: layers.pick("worker.warm", flags.warm, || 8)?,
            log: layers.pick("worker.log", flags.log, || LOG.to_owned())?,
            data,
        })
    }
}

/// Flags of `sagewai dev` that settings stand behind.
#[derive(Clone, Debug, Default, clap::Args)]
pub(crate) struct DevFlags {
    /// Folder of everything that dev keeps.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) data: Option<PathBuf>,
    /// Address of the server; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<String>,
    /// Address of the broker; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) broker_listen: Option<String>,
    /// Log filter of the processes.
    #[arg(long, value_name = "FILTER")]
    pub(crate) log: Option<String>,
}

/// All on this machine.
#[derive(Debug)]
pub(crate) struct Dev {
    pub(crate) data: PathBuf,
    pub(crate) listen: String,
    pub(crate) broker_listen: String,
    pub(crate) log: String,
}

impl Dev {
    pub(crate) fn resolve(layers: &Layers, flags: &DevFlags) -> Result<Dev, Failure> {
        let flags = flags.clone();
        Ok(Dev {
            data: path(layers, "dev.data", flags.data, default_data_folder)?,
            listen: layers.pick("dev.listen", flags.listen, || SERVER_LISTEN.to_owned())?,
            broker_listen: layers
                .pick("dev.broker-listen", flags.broker_listen, || BROKER_LISTEN.to_owned())?,
            log: layers.pick("dev.log", flags.log, || "warn".to_owned())?,
        })
    }
}

/// A path setting: absolute in what `config show` says, so that it is clear which file is meant.
pub(super) fn path(
    layers: &Layers,
    name: &str,
    flag: Option<PathBuf>,
    default: impl FnOnce() -> PathBuf,
) -> Result<PathBuf, Failure> {
    let flag = flag.map(|path| std::path::absolute(&path).unwrap_or(path).display().to_string());
    let text = layers.pick(name, flag, || default().display().to_string())?;
    Ok(PathBuf::from(text))
}

/// The machine's name as far as it makes a worker's name.
fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '-' }).collect();
    if name.is_empty() { "worker".to_owned() } else { name }
}
