//! What the sandbox backends are configured with, a struct each. They belong to the machine: worker, dev, demo and doctor
//! read the same settings.

use std::path::PathBuf;

use super::kubernetes::KubernetesSettings;
use super::lambda::LambdaSettings;
use super::layers::{Layers, user_folder};
use super::parts::path;
use super::values::List;
use crate::failure::Failure;

/// Where Docker's daemon usually listens.
const DOCKER_HOST: &str = "unix:///var/run/docker.sock";
/// The image of a Docker sandbox whose step names none: scripts are Python's as a rule.
const DOCKER_IMAGE: &str = "docker.io/library/python:3-slim";

/// Size of the cache of images.
const IMAGES_MIB: u64 = 20 << 10;

/// Settings of all sandbox backends.
#[derive(Clone, Debug)]
pub(crate) struct SandboxSettings {
    pub(crate) docker: DockerSettings,
    pub(crate) images: ImagesSettings,
    pub(crate) kubernetes: KubernetesSettings,
    pub(crate) lambda: LambdaSettings,
}

impl SandboxSettings {
    /// The same for who only looks: no image is pulled.
    pub(crate) fn without_pulling(&self) -> SandboxSettings {
        let mut settings = self.clone();
        settings.docker.pull = "never".to_owned();
        settings
    }

    pub(crate) fn resolve(layers: &Layers) -> Result<SandboxSettings, Failure> {
        Ok(SandboxSettings {
            docker: DockerSettings::resolve(layers)?,
            images: ImagesSettings::resolve(layers)?,
            kubernetes: KubernetesSettings::resolve(layers)?,
            lambda: LambdaSettings::resolve(layers)?,
        })
    }
}

/// The images of namespace sandboxes.
#[derive(Clone, Debug)]
pub(crate) struct ImagesSettings {
    /// Folder of the cache.
    pub(crate) cache: PathBuf,
    /// Its size, MiB.
    pub(crate) max_mib: u64,
    /// `if-not-present`, `always` or `never`.
    pub(crate) pull: String,
    /// File with credentials of registries, as Docker's config.json.
    pub(crate) registries: Option<PathBuf>,
    /// Registries in plain HTTP.
    pub(crate) insecure: List,
    /// Private destinations that may be registries.
    pub(crate) allow_private: List,
}

impl ImagesSettings {
    fn resolve(layers: &Layers) -> Result<ImagesSettings, Failure> {
        let registries = path(layers, "images.registries", None, PathBuf::new)?;
        let cache = || {
            user_folder("XDG_CACHE_HOME", ".cache")
                .map_or_else(|| PathBuf::from("/var/cache/sagewai/images"), |f| f.join("sagewai/images"))
        };
        Ok(ImagesSettings {
            cache: path(layers, "images.cache", None, cache)?,
            max_mib: layers.pick("images.max-mib", None, || IMAGES_MIB)?,
            pull: layers.pick("images.pull", None, || "if-not-present".to_owned())?,
            registries: (!registries.as_os_str().is_empty()).then_some(registries),
            insecure: layers.pick("images.insecure", None, List::default)?,
            allow_private: layers.pick("images.allow-private", None, List::default)?,
        })
    }
}

/// The Docker sandbox backend, also for Podman.
#[derive(Clone, Debug)]
pub(crate) struct DockerSettings {
    /// `unix://`, `tcp://`, `http://`, `https://` or `ssh://`.
    pub(crate) host: String,
    /// Folder with ca.pem, cert.pem and key.pem; with it, tcp:// is TLS.
    pub(crate) certificates: Option<PathBuf>,
    /// Image of a step that names none.
    pub(crate) image: String,
    /// `always`, `if-not-present` or `never`.
    pub(crate) pull: String,
    /// File with credentials of registries, as Docker's config.json.
    pub(crate) registries: Option<PathBuf>,
    /// Runtime of the containers, such as `runsc`; empty means the daemon's own.
    pub(crate) runtime: String,
}

impl DockerSettings {
    fn resolve(layers: &Layers) -> Result<DockerSettings, Failure> {
        let file = |name: &str, default: fn() -> PathBuf| {
            let chosen = path(layers, name, None, default)?;
            Ok::<_, Failure>((!chosen.as_os_str().is_empty()).then_some(chosen))
        };
        Ok(DockerSettings {
            host: layers.pick("docker.host", None, || variable("DOCKER_HOST", DOCKER_HOST))?,
            certificates: file("docker.certificates", certificates)?,
            image: layers.pick("docker.image", None, || DOCKER_IMAGE.to_owned())?,
            pull: layers.pick("docker.pull", None, || "if-not-present".to_owned())?,
            registries: file("docker.registries", PathBuf::new)?,
            runtime: layers.pick("docker.runtime", None, String::new)?,
        })
    }
}

/// What Docker's own client reads too.
fn variable(name: &str, default: &str) -> String {
    std::env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| default.to_owned())
}

fn certificates() -> PathBuf {
    match variable("DOCKER_TLS_VERIFY", "").as_str() {
        "" => PathBuf::new(),
        _ => PathBuf::from(variable("DOCKER_CERT_PATH", "")),
    }
}

/// The sandbox backends of a worker, best first: `namespace` unless it says otherwise.
pub(crate) fn default_sandboxes() -> List {
    List(vec!["namespace".to_owned()])
}
