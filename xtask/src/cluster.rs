//! The tests' Kubernetes: built beside everything else, since that takes minutes once, and running while the tests run.

use std::path::PathBuf;
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use testkit::images;
use testkit::kubernetes::{Binaries, Cluster, prepare};

use crate::shell::{command, output_of};

/// Names the kubeconfig for the tests.
pub(crate) const VARIABLE: &str = "SAGEWAI_TEST_KUBECONFIG";

/// The build of Kubernetes on its way.
pub(crate) struct Building(JoinHandle<Result<Binaries>>);

/// A cluster that runs until this is dropped.
pub(crate) struct Running {
    cluster: Option<Cluster>,
    folder: PathBuf,
}

/// Begins to build, unless it was built before.
pub(crate) fn build() -> Building {
    Building(std::thread::spawn(|| {
        let is_root = output_of(command("id").arg("-u")).is_some_and(|id| id.trim() == "0");
        anyhow::ensure!(is_root, "a kubelet needs root");
        Ok(prepare(&|what| eprintln!("=> kubernetes: {what}"))?)
    }))
}

impl Building {
    /// Waits for the build and starts the cluster, from this thread, with which it ends.
    pub(crate) fn start(self) -> Result<Running> {
        eprintln!("=> kubernetes: start");
        let binaries = self.0.join().map_err(|_| anyhow::anyhow!("the build of Kubernetes panicked"))??;
        let folder = std::env::temp_dir().join(format!("sagewai-test-kubernetes-{}", std::process::id()));
        let mut running = Running { cluster: None, folder };
        let cluster = Cluster::start(&binaries, &running.folder).context("Kubernetes does not start")?;
        let host = cluster.docker_host();
        running.cluster = Some(cluster);
        images::make(&host, &running.folder.join("images")).context("the tests' images cannot be made")?;
        Ok(running)
    }
}

impl Running {
    /// The kubeconfig of an administrator.
    pub(crate) fn kubeconfig(&self) -> String {
        self.folder.join(testkit::kubernetes::KUBECONFIG).display().to_string()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.cluster.take());
        _ = std::fs::remove_dir_all(&self.folder);
    }
}
