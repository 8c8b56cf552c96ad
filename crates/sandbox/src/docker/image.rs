//! Images at the daemon: what a reference means there, pulled as the operator's policy says.

use std::path::Path;

use bollard::Docker;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;

use super::NAME;
use super::credentials;
use super::options::Pull;
use super::trouble::{Trouble, from_bollard, short};
use crate::{Image, ImageConfig, SandboxError};

/// An image that the daemon has.
#[derive(Clone, Debug, Default)]
pub(super) struct LocalImage {
    /// Digest of its configuration, by which containers are made: a tag that moves meanwhile changes nothing.
    pub(super) id: String,
    /// As others see it: by the registry's digest where it came from one.
    pub(super) image: Image,
    /// Folders that it declares as volumes.
    pub(super) volumes: Vec<String>,
}

/// Brings an image to the daemon as `policy` says, and looks at it.
pub(super) async fn bring(
    docker: &Docker,
    host: &str,
    reference: &str,
    policy: Pull,
    registries: Option<&Path>,
    tell: &(dyn Fn(String) + Send + Sync),
) -> Result<LocalImage, SandboxError> {
    check_reference(reference)?;
    let known = match policy {
        Pull::Always if !is_local(reference) => None,
        _ => look(docker, host, reference).await?,
    };
    let found = match (known, policy) {
        (Some(found), _) => found,
        (None, Pull::Never) => return Err(absent(host, reference)),
        (None, Pull::Always | Pull::IfNotPresent) => {
            tell(format!("pulling {reference}"));
            pull(docker, reference, registries)
                .await
                .map_err(|trouble| not_pulled(trouble, host, reference))?;
            let pulled = look(docker, host, reference).await?.ok_or_else(|| absent(host, reference))?;
            tell(format!("pulled {}", pulled.image.pinned));
            pulled
        }
    };
    Ok(found)
}

/// What begins with a hyphen or holds spaces would be something else to somebody on the way.
fn check_reference(reference: &str) -> Result<(), SandboxError> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:@+".contains(&byte);
    let fine = !reference.is_empty()
        && reference.len() <= 500
        && !reference.starts_with(['-', '/', '.'])
        && !reference.contains("..")
        && reference.bytes().all(plain);
    if fine {
        return Ok(());
    }
    Err(SandboxError::Unavailable {
        backend: NAME,
        reason: format!("`{}` is not a reference of an image", reference.escape_debug()),
        remedy: "write it as registry/name:tag or registry/name@sha256:…".to_owned(),
    })
}

/// Whether it names an image by the digest of its configuration, which no registry knows.
fn is_local(reference: &str) -> bool {
    reference.starts_with("sha256:")
}

async fn look(docker: &Docker, host: &str, reference: &str) -> Result<Option<LocalImage>, SandboxError> {
    let seen = match docker.inspect_image(reference).await.map_err(from_bollard) {
        Ok(seen) => seen,
        Err(trouble) if trouble.is_missing() => return Ok(None),
        Err(trouble) => return Err(trouble.into_error(host)),
    };
    let broken = || SandboxError::Create(format!("the daemon does not say what {reference} is"));
    let id = seen.id.ok_or_else(broken)?;
    let architecture = seen.architecture.unwrap_or_default();
    if !architecture.is_empty() && architecture != own_architecture() {
        return Err(SandboxError::Unavailable {
            backend: NAME,
            reason: format!(
                "{reference} is for {architecture}, the sandboxes here are {}",
                own_architecture()
            ),
            remedy: format!(
                "name an image that has {}, by its digest if the tag has several",
                own_architecture()
            ),
        });
    }
    let config = seen.config.unwrap_or_default();
    let repository = repository(reference);
    let digests = seen.repo_digests.unwrap_or_default();
    let pinned = digests.iter().find(|digest| self::repository(digest) == repository).cloned();
    Ok(Some(LocalImage {
        image: Image {
            pinned: pinned.unwrap_or_else(|| id.clone()),
            config: ImageConfig {
                environment: ImageConfig::read_environment(config.env.unwrap_or_default()),
                directory: config.working_dir.as_deref().and_then(ImageConfig::read_directory),
                entrypoint: config.entrypoint.unwrap_or_default(),
                command: config.cmd.unwrap_or_default(),
                user: config.user.filter(|user| !user.is_empty()),
            },
        },
        volumes: config.volumes.unwrap_or_default(),
        id,
    }))
}

/// This machine's architecture as images name it; the daemon's must be the same, since the guest is ours.
pub(super) fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// `registry/name` without tag and digest, in full: `python:3` is of `docker.io/library/python`.
fn repository(reference: &str) -> String {
    let name = reference.split_once('@').map_or(reference, |(name, _)| name);
    let name = match name.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => name,
    };
    let registry = credentials::registry(name);
    let path = name.strip_prefix(registry).map_or(name, |path| path.trim_start_matches('/'));
    let library = if registry == "docker.io" && !path.contains('/') { "library/" } else { "" };
    format!("{registry}/{library}{path}")
}

async fn pull(docker: &Docker, reference: &str, registries: Option<&Path>) -> Result<(), Trouble> {
    let credentials = match registries {
        Some(file) => credentials::for_image(file, reference)?,
        None => None,
    };
    // Without tag and digest the daemon would pull all tags.
    let bare =
        !reference.contains('@') && !reference.rsplit('/').next().is_some_and(|name| name.contains(':'));
    let full = if bare { format!("{reference}:latest") } else { reference.to_owned() };
    let options = CreateImageOptionsBuilder::new().from_image(&full).build();
    let mut progress = std::pin::pin!(docker.create_image(Some(options), None, credentials));
    while let Some(line) = progress.next().await {
        let line = line.map_err(from_bollard)?;
        if let Some(message) = line.error_detail.and_then(|error| error.message) {
            return Err(Trouble::Broken(short(&message)));
        }
    }
    Ok(())
}

fn absent(host: &str, reference: &str) -> SandboxError {
    SandboxError::Unavailable {
        backend: NAME,
        reason: format!("the daemon at {host} has no image {reference}"),
        remedy: format!(
            "run `docker pull {reference}` there, or allow pulling: docker.pull = \"if-not-present\""
        ),
    }
}

fn not_pulled(trouble: Trouble, host: &str, reference: &str) -> SandboxError {
    let message = match trouble {
        Trouble::Refused(_, message) | Trouble::Broken(message) => message,
        other => return other.into_error(host),
    };
    if message.contains("no space left on device") {
        return Trouble::Refused(500, message).into_error(host);
    }
    let remedy = if ["no matching manifest", "does not match the specified platform"]
        .iter()
        .any(|w| message.contains(w))
    {
        format!("name an image that has {}", own_architecture())
    } else if ["unauthorized", "authentication required", "denied", "no basic auth"]
        .iter()
        .any(|w| message.contains(w))
    {
        "check the name, and put credentials of the registry into the file that docker.registries names"
            .to_owned()
    } else if ["not found", "manifest unknown", "does not exist"].iter().any(|w| message.contains(w)) {
        "check its name and tag".to_owned()
    } else {
        format!("check that the daemon at {host} reaches {}", credentials::registry(reference))
    };
    SandboxError::Unavailable {
        backend: NAME,
        reason: format!("{reference} cannot be pulled: {message}"),
        remedy,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_compared_by_its_full_repository() {
        for name in ["python", "python:3", "docker.io/library/python:3", "library/python@sha256:ab"] {
            assert_eq!(repository(name), "docker.io/library/python", "{name}");
        }
        assert_eq!(repository("localhost:5000/a/b:1"), "localhost:5000/a/b");
        assert_eq!(repository("localhost:5000/b"), "localhost:5000/b");
    }

    #[test]
    fn what_is_no_reference_never_reaches_the_daemon() {
        for wrong in ["", "-v", "a b", "../x", "a/../../containers/json", "a?x=1", "a\n", "/a"] {
            assert!(check_reference(wrong).is_err(), "{wrong:?}");
        }
        assert!(check_reference("registry.example:5000/team/app@sha256:0123").is_ok());
    }

    #[test]
    fn a_failed_pull_names_its_remedy() {
        let said =
            |message: &str| not_pulled(Trouble::Broken(message.to_owned()), "h", "r.example/x").to_string();
        assert!(said("manifest unknown: manifest unknown").contains("check its name"));
        assert!(said("pull access denied for x").contains("docker.registries"));
        assert!(said("no matching manifest for linux/amd64 in the list").contains(own_architecture()));
        assert!(said("dial tcp: i/o timeout").contains("reaches r.example"));
        assert!(said("write: no space left on device").contains("prune"));
    }
}
