//! A real Kubernetes for tests: API server, scheduler, controller manager and kubelet 1.20, built from Debian's source
//! package, with etcd and a Docker of its own; one node, everything on loopback.
//!
//! [`prepare`] installs and builds (minutes, once a machine), [`Cluster::start`] starts (seconds). Pods have loopback
//! alone, unless their namespace's name says otherwise; see `network`.

mod authority;
mod binaries;
mod control_plane;
mod network;
mod node;
mod process;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

pub use binaries::{Binaries, prepare};
use process::Running;

/// Name of the one node. It resolves to loopback everywhere, which another name would need /etc/hosts for.
pub const NODE: &str = "localhost";
/// Name of the kubeconfig in a cluster's folder; it holds an administrator.
pub const KUBECONFIG: &str = "kubeconfig";
/// Name of the folder in a cluster's folder where etcd keeps everything.
pub const ETCD: &str = "etcd";
/// Name of the socket of the node's Docker in a cluster's folder.
pub const DOCKER_SOCKET: &str = "docker.sock";

/// A running cluster. Dropping it stops everything it started.
pub struct Cluster {
    folder: PathBuf,
    /// In the order of their start; stopped in the opposite order.
    running: Vec<Running>,
    /// Put back once the kubelet has started, and at the end: a kubelet that was started again has changed them again.
    settings: node::KernelSettings,
}

impl Cluster {
    /// Starts a cluster in `folder`, which must be empty or absent; waits until its node is ready.
    ///
    /// Errors name the part that did not start and the log that says why. Needs root, as a kubelet does.
    pub fn start(binaries: &Binaries, folder: &Path) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let authority = authority::create(&folder)?;
        let mut cluster = Self { folder, running: Vec::new(), settings: node::KernelSettings::read()? };
        let ports = control_plane::start(binaries, &authority, &cluster.folder, &mut cluster.running)?;
        node::start(binaries, &authority, &cluster.folder, ports.api, &mut cluster.running)?;
        let ready = control_plane::await_node(&authority, ports.api);
        cluster.settings.restore()?;
        ready?;
        Ok(cluster)
    }

    /// The file that names the cluster and holds an administrator's credentials.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join(KUBECONFIG)
    }

    /// Where the node's Docker listens: what is an image there needs no pull.
    pub fn docker_host(&self) -> String {
        format!("unix://{}", self.folder.join(DOCKER_SOCKET).display())
    }

    /// Process ids by the name of the part, such as `kubelet`.
    pub fn processes(&self) -> impl Iterator<Item = (&str, u32)> {
        self.running.iter().map(|running| (running.name(), running.pid()))
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        node::remove_pods(&self.folder);
        while let Some(running) = self.running.pop() {
            running.stop();
        }
        node::unmount(&self.folder);
        _ = self.settings.restore();
    }
}
