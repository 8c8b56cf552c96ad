//! What killed workers left at the daemon: found by labels, and removed.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::Docker;
use bollard::models::ContainerSummary;
use bollard::query_parameters::{ListContainersOptionsBuilder, RemoveContainerOptionsBuilder};

use super::trouble::{Trouble, from_bollard};

/// What a container of ours is: `sandbox` or `helper`.
const KIND: &str = "sagewai.kind";
/// The worker it belongs to.
const OWNER: &str = "sagewai.owner";
/// The start of that worker's process that made it.
const BOOT: &str = "sagewai.boot";
/// A container of another worker that does not run for so long after it was made is nobody's.
const FOREIGN_AGE: Duration = Duration::from_secs(3600);
/// How long a container may take to be gone after the daemon has said that it is being removed.
const REMOVAL_LIMIT: Duration = Duration::from_secs(30);
/// How often that is looked at.
const REMOVAL_POLL: Duration = Duration::from_millis(20);

/// Labels of what a worker makes. They name the worker by its public key, and nothing of a step.
#[derive(Clone, Debug)]
pub(super) struct Labels {
    pub(super) owner: String,
    pub(super) boot: String,
}

impl Labels {
    /// Those of a container of this kind.
    pub(super) fn of(&self, kind: &str) -> HashMap<String, String> {
        [(KIND, kind), (OWNER, &self.owner), (BOOT, &self.boot)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }
}

/// Removes what this worker's earlier processes left, and what no longer runs of others; says how many.
pub(super) async fn sweep(docker: &Docker, ours: &Labels) -> Result<usize, Trouble> {
    let filters: HashMap<String, Vec<String>> = [("label".to_owned(), vec![KIND.to_owned()])].into();
    let options = ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
    let found = docker.list_containers(Some(options)).await.map_err(from_bollard)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut removed = 0;
    for container in found.iter().filter(|container| is_orphan(container, ours, now)) {
        if let Some(id) = &container.id {
            remove(docker, id).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

fn is_orphan(container: &ContainerSummary, ours: &Labels, now: Duration) -> bool {
    let label =
        |name: &str| container.labels.as_ref().and_then(|labels| labels.get(name)).map(String::as_str);
    if label(OWNER) == Some(&ours.owner) {
        return label(BOOT) != Some(&ours.boot);
    }
    let runs = container.state.as_ref().is_some_and(|state| state.to_string() == "running");
    let made =
        Duration::from_secs(container.created.and_then(|at| u64::try_from(at).ok()).unwrap_or(u64::MAX));
    !runs && now.saturating_sub(made) > FOREIGN_AGE && made < now
}

/// Kills and removes a container with its anonymous volumes, and waits until it is gone.
pub(super) async fn remove(docker: &Docker, container: &str) -> Result<(), Trouble> {
    let options = RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    match docker.remove_container(container, Some(options)).await.map_err(from_bollard) {
        Ok(()) => Ok(()),
        // It has ended, and the daemon is removing it by itself.
        Err(trouble) if trouble.is_gone() => await_removal(docker, container).await,
        Err(trouble) => Err(trouble),
    }
}

async fn await_removal(docker: &Docker, container: &str) -> Result<(), Trouble> {
    let gone = async {
        loop {
            match docker.inspect_container(container, None).await.map_err(from_bollard) {
                Ok(_) => tokio::time::sleep(REMOVAL_POLL).await,
                Err(trouble) if trouble.is_missing() => return Ok(()),
                Err(trouble) => return Err(trouble),
            }
        }
    };
    tokio::time::timeout(REMOVAL_LIMIT, gone)
        .await
        .unwrap_or_else(|_| Err(Trouble::Broken(format!("container {container} is not removed after 30 s"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_orphan_is_ours_of_before_or_nobodys() {
        let ours = Labels { owner: "me".to_owned(), boot: "now".to_owned() };
        let hour = 2 * 3600;
        let orphan = |owner: &str, boot: &str, state: &str, age: i64| {
            let labels = Labels { owner: owner.to_owned(), boot: boot.to_owned() }.of("sandbox");
            let container =
                serde_json::json!({ "Labels": labels, "State": state, "Created": 1_000_000 - age });
            let container: ContainerSummary = serde_json::from_value(container).expect("a container");
            is_orphan(&container, &ours, Duration::from_secs(1_000_000))
        };
        assert!(!orphan("me", "now", "running", hour));
        assert!(orphan("me", "before", "running", 1));
        assert!(!orphan("other", "x", "running", hour), "another worker's");
        assert!(!orphan("other", "x", "created", 10), "another worker may be about to start it");
        assert!(orphan("other", "x", "created", hour));
        assert!(orphan("other", "x", "exited", hour));
    }
}
