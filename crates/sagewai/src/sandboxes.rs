//! The sandbox backends of this program, made from settings: the one place where a further one is added, as a variant of
//! [`Kind`], a feature of this crate and an arm of [`Early::make`].

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sandbox::oci::{ImageSettings, Images, PullPolicy};
use sandbox::pool::PoolConfig;
use sandbox::{Backend, SandboxError};
use sandbox_namespace::{NamespaceBackend, Spawner, SpawnerError, SpawnerOptions};

use crate::config::{ImagesSettings, List, SandboxSettings};
use crate::failure::Failure;

/// A sandbox backend, as documents and operators name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Namespace,
    Docker,
    Kubernetes,
    Lambda,
}

impl Kind {
    /// All, in the order in which `doctor` shows them.
    pub(crate) const ALL: [Kind; 4] = [Kind::Namespace, Kind::Docker, Kind::Kubernetes, Kind::Lambda];

    /// Whether a sandbox that waits costs no more than memory. An invocation is billed while it waits, and ends by itself.
    pub(crate) fn waits_for_free(self) -> bool {
        self != Kind::Lambda
    }

    /// How long a sandbox may take until it is there: as long as its own settings allow, which say better what it waits for.
    pub(crate) fn create_limit(self, settings: &SandboxSettings) -> Duration {
        let usual = PoolConfig::default().create_limit;
        match self {
            Kind::Kubernetes => {
                let allowed =
                    settings.kubernetes.schedule_seconds.saturating_add(settings.kubernetes.start_seconds);
                usual.saturating_add(Duration::from_secs(allowed))
            }
            Kind::Namespace | Kind::Docker | Kind::Lambda => usual,
        }
    }

    /// Its name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Namespace => "namespace",
            Kind::Docker => "docker",
            Kind::Kubernetes => "kubernetes",
            Kind::Lambda => "lambda",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Kind::ALL.map(Kind::name);
        Kind::ALL
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| format!("`{text}` is no sandbox backend; there are {}", known.join(", ")))
    }
}

/// The named sandbox backends, best first; none twice.
pub(crate) fn kinds(names: &List) -> Result<Vec<Kind>, Failure> {
    let mut kinds = Vec::new();
    for name in &names.0 {
        let kind: Kind = name.parse().map_err(|error: String| {
            Failure::usage("--sandbox is wrong").because(&std::io::Error::other(error))
        })?;
        if kinds.contains(&kind) {
            return Err(Failure::usage(format!("--sandbox names `{kind}` twice"))
                .hint("the order is the order of preference; name each once"));
        }
        kinds.push(kind);
    }
    Ok(kinds)
}

/// Why a sandbox backend is not there.
#[derive(Clone, Debug)]
pub(crate) struct Absent {
    /// What is missing.
    pub(crate) reason: String,
    /// What can be done.
    pub(crate) remedy: String,
}

impl Absent {
    fn new(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Absent { reason: reason.into(), remedy: remedy.into() }
    }
}

impl From<SandboxError> for Absent {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Unavailable { reason, remedy, .. } => Absent { reason, remedy },
            SandboxError::Lost { reason, .. } => Absent::new(reason, "sagewai doctor tries again"),
            error => Absent::new(error.to_string(), "the worker's log has more: sagewai worker --log debug"),
        }
    }
}

/// What had to be done while this process had one thread: the spawner of namespace sandboxes is a fork of it.
pub(crate) struct Early {
    spawner: Option<Result<Spawner, SpawnerError>>,
    /// Whether there is a folder for images.
    images: bool,
}

impl Early {
    /// Prepares those sandbox backends; called first of all, before there are threads.
    pub(crate) fn prepare(kinds: &[Kind], paths: &List, settings: &SandboxSettings) -> Early {
        if !kinds.contains(&Kind::Namespace) {
            return Early { spawner: None, images: false };
        }
        let cache = &settings.images.cache;
        let images = Images::make_folders(cache)
            .inspect_err(|error| {
                eprintln!("warning: no images: the cache {} cannot be made: {error}", cache.display())
            })
            .ok();
        let options = SpawnerOptions {
            paths: paths.0.iter().map(PathBuf::from).collect(),
            images,
            ..SpawnerOptions::default()
        };
        Early { images: options.images.is_some(), spawner: Some(Spawner::start(&options)) }
    }

    /// The sandbox backend; needs a tokio runtime. That its daemon does not answer is no reason for its absence: it may
    /// come, and [`Backend::check`] says whether it has. `owner` names this worker at daemons that it shares with others.
    pub(crate) fn make(
        &mut self,
        kind: Kind,
        settings: &SandboxSettings,
        owner: &str,
    ) -> Result<Arc<dyn Backend>, Absent> {
        match kind {
            Kind::Namespace => {
                let images = if self.images { Some(images(&settings.images)?) } else { None };
                namespace(self.spawner.take().expect("prepared, and made once"), images)
            }
            Kind::Docker => docker(settings, owner),
            Kind::Kubernetes => kubernetes(settings),
            Kind::Lambda => lambda(settings),
        }
    }
}

#[cfg(not(all(feature = "docker", feature = "kubernetes", feature = "lambda")))]
fn not_built(kind: Kind) -> Absent {
    Absent::new(
        format!("this program was built without the sandbox backend `{kind}`"),
        format!("build it with `cargo build --release --features {kind}`"),
    )
}

/// The images of namespace sandboxes. Wrong settings are told at the start, not by the first step that names an image.
fn images(settings: &ImagesSettings) -> Result<Arc<Images>, Absent> {
    let wrong = |reason: String| Absent::new(reason, "correct the `[images]` part of the configuration");
    let pull = PullPolicy::parse(&settings.pull).ok_or_else(|| {
        wrong(format!("`{}` is no way to pull; there are if-not-present, always, never", settings.pull))
    })?;
    Images::open(ImageSettings {
        max_cache_bytes: settings.max_mib.saturating_mul(1 << 20),
        pull,
        insecure: settings.insecure.0.clone(),
        allow_private: settings.allow_private.0.clone(),
        credentials: settings.registries.clone(),
        ..ImageSettings::new(settings.cache.clone())
    })
    .map_err(|error| wrong(error.to_string()))
}

fn namespace(
    spawner: Result<Spawner, SpawnerError>,
    images: Option<Arc<Images>>,
) -> Result<Arc<dyn Backend>, Absent> {
    let spawner = spawner.map_err(|error| match error {
        SpawnerError::Unavailable { reason, remedy } => Absent { reason, remedy },
        error => Absent::new(error.to_string(), "run `sagewai doctor` as the user of the worker"),
    })?;
    let backend = NamespaceBackend::with_images(spawner, images)
        .map_err(|error| Absent::new(error.to_string(), "check the limits: ulimit -n"))?;
    Ok(backend)
}

#[cfg(feature = "docker")]
fn docker(settings: &SandboxSettings, owner: &str) -> Result<Arc<dyn Backend>, Absent> {
    use sandbox::docker::{DockerBackend, DockerOptions, Host};
    let settings = settings.docker.clone();
    let wrong = |reason: String| Absent::new(reason, "correct the `[docker]` part of the configuration");
    Ok(DockerBackend::new(DockerOptions {
        host: Host::parse(&settings.host, settings.certificates).map_err(wrong)?,
        image: settings.image,
        pull: settings.pull.parse().map_err(wrong)?,
        registries: settings.registries,
        runtime: Some(settings.runtime).filter(|runtime| !runtime.is_empty()),
        owner: owner.to_owned(),
    }))
}

#[cfg(not(feature = "docker"))]
fn docker(_: &SandboxSettings, _: &str) -> Result<Arc<dyn Backend>, Absent> {
    Err(not_built(Kind::Docker))
}

#[cfg(feature = "kubernetes")]
fn kubernetes(settings: &SandboxSettings) -> Result<Arc<dyn Backend>, Absent> {
    use sandbox::kubernetes::{KubernetesBackend, KubernetesConfig};
    let settings = settings.kubernetes.clone();
    let wrong = |key: &'static str| {
        move |reason: String| {
            Absent::new(reason, format!("correct `{key}` in the `[kubernetes]` part of the configuration"))
        }
    };
    let user = settings.run_as_user.as_deref().map(str::parse).transpose();
    let tolerations = settings.tolerations.0.iter().map(|text| text.parse()).collect::<Result<_, String>>();
    let closed =
        settings.closed.0.iter().map(|text| text.parse()).collect::<Result<_, std::net::AddrParseError>>();
    Ok(KubernetesBackend::new(KubernetesConfig {
        kubeconfig: settings.kubeconfig,
        context: settings.context,
        namespace: settings.namespace,
        image: Some(settings.image).filter(|image| !image.is_empty()),
        guest_image: settings.guest_image,
        guest_source: settings.guest_source.parse().map_err(wrong("guest-source"))?,
        image_pull_policy: Some(settings.pull).filter(|pull| !pull.is_empty()),
        image_pull_secrets: settings.pull_secrets.0,
        service_account: settings.service_account,
        attestation_audience: settings.attestation_audience,
        runtime_class: settings.runtime_class,
        node_selector: settings.node_selector.0,
        tolerations: tolerations.map_err(wrong("tolerations"))?,
        priority_class: settings.priority_class,
        labels: settings.labels.0,
        annotations: settings.annotations.0,
        run_as_user: user.map_err(|error| wrong("run-as-user")(format!("the user is no number: {error}")))?,
        scratch: settings.scratch.parse().map_err(wrong("scratch"))?,
        low_ports: settings.low_ports,
        network: settings.network.parse().map_err(wrong("network"))?,
        closed: closed.map_err(|error| wrong("closed")(error.to_string()))?,
        schedule_seconds: settings.schedule_seconds,
        start_seconds: settings.start_seconds,
        pod_seconds: settings.pod_seconds,
        lease_seconds: settings.lease_seconds,
    }))
}

#[cfg(not(feature = "kubernetes"))]
fn kubernetes(_: &SandboxSettings) -> Result<Arc<dyn Backend>, Absent> {
    Err(not_built(Kind::Kubernetes))
}

#[cfg(feature = "lambda")]
fn lambda(settings: &SandboxSettings) -> Result<Arc<dyn Backend>, Absent> {
    use std::time::Duration;

    use sandbox::lambda::{AwsSettings, LambdaBackend, LambdaConfig};
    let settings = settings.lambda.clone();
    let listen = settings.listen.parse::<std::net::SocketAddr>().map_err(|error| {
        let reason = format!("`{}` is no address and port: {error}", settings.listen);
        Absent::new(reason, "correct `listen` in the `[lambda]` part of the configuration")
    })?;
    Ok(Arc::new(LambdaBackend::start(LambdaConfig {
        aws: AwsSettings {
            region: settings.region,
            endpoint: settings.endpoint,
            credentials_file: settings.credentials,
        },
        function: settings.function,
        qualifier: settings.qualifier,
        listen,
        advertise: settings.advertise,
        open_network: settings.open_network,
        dial_limit: Duration::from_secs(settings.dial_seconds),
    })?))
}

#[cfg(not(feature = "lambda"))]
fn lambda(_: &SandboxSettings) -> Result<Arc<dyn Backend>, Absent> {
    Err(not_built(Kind::Lambda))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sandbox_backends_are_named_once_in_the_order_of_preference() {
        let list = |text: &str| text.parse::<List>().expect("a list");
        assert_eq!(kinds(&list("docker, namespace")).unwrap(), [Kind::Docker, Kind::Namespace]);
        assert_eq!(kinds(&list("")).unwrap(), []);
        assert!(kinds(&list("docker,docker")).unwrap_err().message.contains("twice"));
        assert!(kinds(&list("doker")).is_err());
    }
}
