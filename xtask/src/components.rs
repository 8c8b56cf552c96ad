//! Real components that the tests talk to: started before them, stopped after. What cannot be started here leaves its
//! variable unset, and the tests that need it say that they were skipped.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use testkit::dockerd::{self, Dockerd};
use testkit::images;
use testkit::python::Tools;
use testkit::registry::{self, Registry};

use crate::cluster;
use crate::shell::{command, output_of, run as step};

/// The components that run; dropped, they end.
pub(crate) struct Components {
    /// Names and values for the tests' environment.
    pub(crate) variables: Vec<(&'static str, String)>,
    /// What could not be started, and why.
    pub(crate) skipped: Vec<String>,
    _registry: Option<Registry>,
    _docker: Option<Dockerd>,
    _cluster: Option<cluster::Running>,
    _folder: Folder,
}

impl Components {
    /// Installs what is missing and starts all.
    pub(crate) fn start(kubernetes: cluster::Building) -> Result<Components> {
        let folder = Folder::new()?;
        let mut components = Components {
            variables: Vec::new(),
            skipped: Vec::new(),
            _registry: None,
            _docker: None,
            _cluster: None,
            _folder: folder,
        };
        let folder = components._folder.0.clone();
        components._registry =
            components.add("SAGEWAI_TEST_REGISTRY", start_registry(&folder), Registry::address);
        components._docker = components.add("SAGEWAI_TEST_DOCKER", start_docker(&folder), Dockerd::host);
        components._cluster =
            components.add(cluster::VARIABLE, kubernetes.start(), cluster::Running::kubeconfig);
        components.add_identity_stores();
        components.add_lambda();
        Ok(components)
    }

    /// The counterparts of identity backends; each test starts its own.
    fn add_identity_stores(&mut self) {
        match Tools::install() {
            Ok(tools) => {
                let found = tools.variables().map(|(name, program)| (name, program.display().to_string()));
                self.variables.extend(found);
            }
            Err(error) => self.skipped.push(format!("counterparts of identity backends: {error}")),
        }
    }

    /// AWS's own emulator of Lambda's runtime; each test starts its own.
    fn add_lambda(&mut self) {
        match testkit::lambda::install() {
            Ok(program) => self.variables.push((testkit::lambda::VARIABLE, program.display().to_string())),
            Err(error) => self.skipped.push(format!("AWS's Runtime Interface Emulator: {error}")),
        }
    }

    fn add<T>(&mut self, name: &'static str, started: Result<T>, value: impl Fn(&T) -> String) -> Option<T> {
        match started {
            Ok(component) => {
                self.variables.push((name, value(&component)));
                Some(component)
            }
            Err(error) => {
                self.skipped.push(format!("{name}: {error:#}"));
                None
            }
        }
    }
}

fn start_registry(folder: &Path) -> Result<Registry> {
    installed("docker-registry", &registry::PACKAGES)?;
    let folder = folder.join("registry");
    std::fs::create_dir_all(&folder)?;
    Registry::start(&folder).context("docker-registry does not start")
}

fn start_docker(folder: &Path) -> Result<Dockerd> {
    let is_root = output_of(command("id").arg("-u")).is_some_and(|id| id.trim() == "0");
    anyhow::ensure!(is_root, "a Docker daemon needs root");
    installed("dockerd", &dockerd::PACKAGES)?;
    let daemon = Dockerd::start(&folder.join("docker")).context("dockerd does not start")?;
    images::make(&daemon.host(), &folder.join("images")).context("the tests' images cannot be made")?;
    Ok(daemon)
}

/// Installs Debian packages unless their program is there.
fn installed(program: &str, packages: &[&str]) -> Result<()> {
    if output_of(Command::new("sh").args(["-c", "command -v \"$0\"", program])).is_some() {
        return Ok(());
    }
    step(
        &format!("install {}", packages.join(", ")),
        command("apt-get").args(["install", "--yes", "--quiet", "--no-install-recommends"]).args(packages),
    )
}

/// A folder with a short path, since sockets are in it; removed with what is in it.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Result<Folder> {
        let path = std::env::temp_dir().join(format!("sagewai-test-{}", std::process::id()));
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Folder(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
