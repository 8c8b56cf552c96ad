//! What has become of a pod, as a sentence that a user understands. Pure.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, Event, Pod, PodStatus};

use super::pod::{GUEST_CONTAINER, STEP_CONTAINER};

/// Signs of a container that will not start however long one waits.
const HOPELESS: [&str; 8] = [
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "ImageInspectError",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "CrashLoopBackOff",
];
/// Signs that have to do with an image.
const IMAGE: [&str; 5] =
    ["ImagePullBackOff", "ErrImagePull", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"];
/// Events that are shown at most.
const MOST_EVENTS: usize = 3;

/// What has become of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has no node; the scheduler's words, if it has said any.
    Unscheduled(Option<String>),
    /// It has a node and its container does not run yet.
    Starting,
    /// Its container runs.
    Running,
    /// It will not run, because an image cannot be had.
    NoImage(String),
    /// It will not run, or no longer does, for this reason.
    Ended(String),
}

/// Reads it from the pod.
pub(super) fn of(pod: &Pod) -> Fate {
    let Some(status) = &pod.status else { return Fate::Unscheduled(None) };
    if let Some(why) = ended(status) {
        return Fate::Ended(why);
    }
    let statuses = || status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    if let Some(fate) = statuses().find_map(hopeless) {
        return fate;
    }
    let step = statuses().find(|container| container.name == STEP_CONTAINER);
    if step.and_then(|container| container.state.as_ref()).is_some_and(|state| state.running.is_some()) {
        return Fate::Running;
    }
    match pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) {
        Some(_) => Fate::Starting,
        None => Fate::Unscheduled(unschedulable(status)),
    }
}

fn ended(status: &PodStatus) -> Option<String> {
    let message =
        || status.message.as_deref().unwrap_or("the node says no more").trim_end_matches('.').to_owned();
    match status.reason.as_deref() {
        Some("Evicted") => return Some(format!("its pod was evicted from the node: {}", message())),
        Some("Preempting" | "Preempted") => {
            return Some(format!("its pod made room for one of a higher priority: {}", message()));
        }
        Some("DeadlineExceeded") => {
            return Some(
                "its pod was older than `kubernetes.pod-seconds`, and the cluster ended it".to_owned(),
            );
        }
        Some("NodeLost") => return Some(format!("its node is lost: {}", message())),
        Some(reason) if status.phase.as_deref() == Some("Failed") => {
            return Some(format!("its pod failed: {reason}: {}", message()));
        }
        _ => {}
    }
    let init = status.init_container_statuses.iter().flatten().find_map(|container| {
        let end = container.state.as_ref()?.terminated.as_ref()?;
        (end.exit_code != 0).then(|| {
            format!(
                "the guest could not be copied from its image (container `{}` ended with {}{})",
                container.name,
                end.exit_code,
                words(end.message.as_deref())
            )
        })
    });
    let step = || {
        let containers = status.container_statuses.iter().flatten();
        containers.filter(|container| container.name == STEP_CONTAINER).find_map(|container| {
            let end = container.state.as_ref()?.terminated.as_ref()?;
            Some(match (end.reason.as_deref(), end.exit_code) {
                (Some("OOMKilled"), _) => {
                    "it needed more memory than its limit and was killed; raise the step's `resources.memory`"
                        .to_owned()
                }
                (Some("ContainerCannotRun" | "StartError"), _) => {
                    format!("its container could not be started{}", words(end.message.as_deref()))
                }
                // A guest that was told to end.
                (_, 0) => "its guest ended".to_owned(),
                (reason, code) => format!(
                    "its container ended with {code}{}{}",
                    words(reason.filter(|reason| *reason != "Error")),
                    words(end.message.as_deref())
                ),
            })
        })
    };
    let phase = || match status.phase.as_deref() {
        Some("Failed") => Some(format!("its pod failed{}", words(status.message.as_deref()))),
        Some("Succeeded") => Some("its guest ended".to_owned()),
        _ => None,
    };
    init.or_else(step).or_else(phase)
}

fn words(message: Option<&str>) -> String {
    message.map(|message| format!(": {}", message.trim())).unwrap_or_default()
}

fn hopeless(container: &ContainerStatus) -> Option<Fate> {
    let Some(ContainerState { waiting: Some(waiting), .. }) = &container.state else { return None };
    let reason = waiting.reason.as_deref().filter(|reason| HOPELESS.contains(reason))?;
    let said = words(waiting.message.as_deref());
    if IMAGE.contains(&reason) {
        let whose = if container.name == GUEST_CONTAINER { "the guest's image" } else { "the image" };
        return Some(Fate::NoImage(format!(
            "{whose} `{}` cannot be pulled ({reason}{said}); check its name, the registry, `kubernetes.pull-secrets` and \
             `kubernetes.pull`",
            container.image
        )));
    }
    Some(Fate::Ended(format!("its container cannot be started ({reason}{said})")))
}

fn unschedulable(status: &PodStatus) -> Option<String> {
    let conditions = status.conditions.iter().flatten();
    conditions
        .filter(|condition| condition.type_ == "PodScheduled" && condition.status == "False")
        .find_map(|condition| condition.message.clone())
}

/// The last warnings about a pod, the newest first, each once.
pub(super) fn warnings(mut events: Vec<Event>) -> Option<String> {
    events.retain(|event| event.type_.as_deref() == Some("Warning"));
    events.sort_by_key(|event| std::cmp::Reverse(event.last_timestamp.clone().map(|time| time.0)));
    let mut told: Vec<String> = Vec::new();
    for event in events {
        let reason = event.reason.unwrap_or_default();
        let sentence = format!("{reason}: {}", event.message.unwrap_or_default().trim());
        if !told.contains(&sentence) && told.len() < MOST_EVENTS {
            told.push(sentence);
        }
    }
    (!told.is_empty()).then(|| told.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn fate(status: serde_json::Value, node: Option<&str>) -> Fate {
        let pod = json!({"metadata": {}, "spec": {"containers": [], "nodeName": node}, "status": status});
        of(&serde_json::from_value(pod).expect("a pod"))
    }

    fn container(state: serde_json::Value) -> serde_json::Value {
        json!([{"name": STEP_CONTAINER, "image": "acme/tool:1", "imageID": "", "ready": false, "restartCount": 0, "state": state}])
    }

    fn ended(status: serde_json::Value) -> String {
        match fate(status, Some("n")) {
            Fate::Ended(why) | Fate::NoImage(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pod_goes_from_the_scheduler_to_its_node_and_runs() {
        let waiting = json!({"phase": "Pending", "conditions": [
            {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}]});
        assert_eq!(fate(json!({"phase": "Pending"}), None), Fate::Unscheduled(None));
        assert_eq!(fate(waiting, None), Fate::Unscheduled(Some("0/1 nodes are available".to_owned())));
        let creating = container(json!({"waiting": {"reason": "ContainerCreating"}}));
        assert_eq!(
            fate(json!({"phase": "Pending", "containerStatuses": creating}), Some("n")),
            Fate::Starting
        );
        let running = container(json!({"running": {}}));
        assert_eq!(fate(json!({"phase": "Running", "containerStatuses": running}), Some("n")), Fate::Running);
    }

    #[test]
    fn what_users_have_to_know_is_said() {
        let waiting = |reason: &str| json!({"phase": "Pending", "containerStatuses": container(json!({"waiting": {"reason": reason, "message": "so"}}))});
        assert!(matches!(fate(waiting("InvalidImageName"), Some("n")), Fate::NoImage(_)));
        assert!(
            ended(waiting("ImagePullBackOff"))
                .contains("`acme/tool:1` cannot be pulled (ImagePullBackOff: so)")
        );
        assert!(ended(waiting("CreateContainerConfigError")).contains("cannot be started"));
        // Once is no pattern: the kubelet tries again.
        assert_eq!(fate(waiting("ErrImagePull"), Some("n")), Fate::Starting);
        let oom = container(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}));
        assert!(ended(json!({"phase": "Failed", "containerStatuses": oom})).contains("resources.memory"));
        let gone = container(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}));
        assert_eq!(ended(json!({"phase": "Succeeded", "containerStatuses": gone})), "its guest ended");
        let evicted =
            json!({"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."});
        assert_eq!(ended(evicted), "its pod was evicted from the node: The node was low on memory");
        assert!(ended(json!({"phase": "Failed", "reason": "DeadlineExceeded"})).contains("pod-seconds"));
    }

    #[test]
    fn the_newest_warnings_are_told_once() {
        let event = |kind: &str, reason: &str, time: &str| json!({"metadata": {}, "involvedObject": {}, "type": kind, "reason": reason, "message": "m", "lastTimestamp": time});
        let events = json!([
            event("Normal", "Pulling", "2026-01-01T00:00:03Z"),
            event("Warning", "Failed", "2026-01-01T00:00:01Z"),
            event("Warning", "Failed", "2026-01-01T00:00:00Z"),
            event("Warning", "FailedMount", "2026-01-01T00:00:02Z"),
        ]);
        let events = serde_json::from_value(events).expect("events");
        assert_eq!(warnings(events).as_deref(), Some("FailedMount: m; Failed: m"));
        assert_eq!(warnings(Vec::new()), None);
    }
}
