//! Forking the spawner, and the worker's end of it.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use protocol::frame::LayerReport;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::Pid;

use super::serve;
use crate::sys::{self, Side};
use crate::wire::{self, Reply};

/// What every sandbox of a spawner has in common.
#[derive(Clone, Debug, Default)]
pub struct SpawnerOptions {
    /// Folders of the host that sandboxes see, read-only, at the same place; absolute.
    pub paths: Vec<PathBuf>,
    /// Folder of unpacked image layers, each a folder in it; absent means no images.
    pub images: Option<PathBuf>,
    /// The guest's program; absent means the one that is built in.
    pub guest: Option<Vec<u8>>,
    /// Whether the process may have threads already. Only for test harnesses, whose `main` is not ours.
    pub threads: bool,
}

/// Why there is no spawner.
#[derive(Debug, thiserror::Error)]
pub enum SpawnerError {
    /// This machine cannot make namespace sandboxes.
    #[error("{reason}; {remedy}")]
    Unavailable {
        /// What is missing.
        reason: String,
        /// What the operator can do.
        remedy: String,
    },
    /// A folder that the operator added is wrong.
    #[error(
        "sandbox path `{0}` is not an absolute path of a folder, or is where sandboxes have their own files"
    )]
    Path(PathBuf),
    /// The process has threads already.
    #[error("the spawner must be started before the first thread")]
    Threads,
    /// A system call failed.
    #[error("failed to start the spawner")]
    Io(#[from] std::io::Error),
}

/// Places that a sandbox has for itself; what the operator would add there would be hidden.
const OWN_PLACES: [&str; 6] = ["/proc", "/sys", "/dev", "/tmp", sandbox::WORKSPACE, sandbox::HOME];

fn is_addable(path: &Path) -> bool {
    path.is_absolute()
        && path.is_dir()
        && path.parent().is_some()
        && path.components().all(|part| matches!(part, Component::RootDir | Component::Normal(_)))
        && !OWN_PLACES.iter().any(|place| path.starts_with(place))
}

/// PATH of a step: what the operator added comes first, the folder `bin` of it where there is one.
fn step_path(added: &[PathBuf]) -> String {
    let folder =
        |path: &PathBuf| Some(path.join("bin")).filter(|bin| bin.is_dir()).unwrap_or_else(|| path.clone());
    let mut folders: Vec<String> =
        added.iter().map(|path| folder(path).to_string_lossy().into_owned()).collect();
    folders.push(sandbox::PATH.to_owned());
    folders.join(":")
}

/// The worker's end of a running spawner. Dropping it ends the spawner and all its sandboxes.
pub struct Spawner {
    pub(crate) socket: OwnedFd,
    pub(crate) layers: Vec<LayerReport>,
    pub(crate) path: String,
    pub(crate) pid: Pid,
}

impl Spawner {
    /// Forks the spawner. Call this first thing in `main`, before any thread is started.
    pub fn start(options: &SpawnerOptions) -> Result<Self, SpawnerError> {
        if let Some(wrong) = options.paths.iter().find(|path| !is_addable(path)) {
            return Err(SpawnerError::Path(wrong.clone()));
        }
        if !options.threads && std::fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1) {
            return Err(SpawnerError::Threads);
        }
        let guest = options.guest.as_deref().unwrap_or_else(|| sandbox::guest_binary());
        let (ours, its) =
            rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(std::io::Error::from)?;
        let pid = match sys::fork()? {
            Side::Child => serve::run(its, guest, &options.paths, options.images.as_deref()),
            Side::Parent(pid) => pid,
        };
        drop(its);
        match wire::receive::<Reply>(ours.as_fd())? {
            Some((Reply::Ready { layers }, _)) => {
                Ok(Self { socket: ours, layers, path: step_path(&options.paths), pid })
            }
            Some((Reply::Unavailable { reason, remedy }, _)) => {
                Err(SpawnerError::Unavailable { reason, remedy })
            }
            _ => Err(SpawnerError::Io(std::io::Error::other("the spawner ended at once"))),
        }
    }

    /// Process id of the spawner.
    pub fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }
}
