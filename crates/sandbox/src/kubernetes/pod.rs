//! The pod of a sandbox. Pure: what the operator configured and what the template asks for in, a manifest out.

use std::net::SocketAddr;

use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

use super::config::{GuestSource, KubernetesConfig, NetworkCheck, Scratch};
use super::{PART_LABEL, PART_SANDBOX, WORKER_LABEL};
use crate::{HOME, SandboxLimits, WORKSPACE};

/// Container of the step.
pub(super) const STEP_CONTAINER: &str = "step";
/// Init container that brings the guest.
pub(super) const GUEST_CONTAINER: &str = "guest";
/// The guest in its image.
pub(super) const GUEST_IN_IMAGE: &str = "/sagewai-guest";
/// Where the folder with the guest is in the step's container.
const GUEST_FOLDER: &str = "/.sagewai";
/// Where the runtime mounts the file of the host for the termination message, which everyone may write: in a folder that the
/// step cannot enter.
const TERMINATION_FILE: &str = "/.sagewai/closed/log";
/// Where the attestation token is.
const TOKEN_FOLDER: &str = "/.sagewai-token";
/// Seconds that a token holds; the kubelet renews it.
const TOKEN_SECONDS: i64 = 3600;
/// The guest's resolver.
const RESOLVER: &str = "127.77.0.1";
/// Port of a kubelet, on the pod's own node.
const KUBELET_PORT: u16 = 10250;
/// Seconds between the order to end and the end; the guest ends at once.
const GRACE_SECONDS: i64 = 1;
/// First of the users that sandboxes get, and how many pairs there are, for the step and for who closes things to it: above every real user and every sub-user of one.
const FIRST_USER: i64 = 1 << 30;
const USERS: i64 = 1 << 28;

/// What is particular to one pod.
pub(super) struct Particulars<'a> {
    pub(super) name: &'a str,
    pub(super) image: &'a str,
    pub(super) limits: SandboxLimits,
    /// The worker's lease, which owns the pod.
    pub(super) lease: &'a str,
    pub(super) lease_uid: &'a str,
    /// Addresses of the API that must not answer.
    pub(super) api: &'a [SocketAddr],
    /// A number that no other sandbox of the node should have.
    pub(super) number: u32,
}

/// The pod, as the API takes it.
pub(super) fn pod(config: &KubernetesConfig, of: &Particulars<'_>) -> Pod {
    serde_json::from_value(manifest(config, of)).expect("a manifest of ours is a pod")
}

fn manifest(config: &KubernetesConfig, of: &Particulars<'_>) -> Value {
    let user = user(config, of);
    let mut spec = json!({
        "restartPolicy": "Never",
        "activeDeadlineSeconds": config.pod_seconds,
        "terminationGracePeriodSeconds": GRACE_SECONDS,
        "automountServiceAccountToken": false,
        "enableServiceLinks": false,
        // Neither the pod's name nor the node's is the step's business.
        "hostname": "sandbox",
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": [RESOLVER]},
        "securityContext": {
            "runAsNonRoot": true,
            "runAsUser": user,
            "runAsGroup": user,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [step_container(config, of)],
        "volumes": volumes(config, of),
    });
    if config.guest_source == GuestSource::InitContainer {
        spec["initContainers"] = json!([guest_container(config, of)]);
    }
    if config.low_ports {
        spec["securityContext"]["sysctls"] =
            json!([{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]);
    }
    let mut set = |key: &str, value: Value| spec[key] = value;
    if let Some(account) = &config.service_account {
        set("serviceAccountName", json!(account));
    }
    if let Some(class) = &config.runtime_class {
        set("runtimeClassName", json!(class));
    }
    if let Some(class) = &config.priority_class {
        set("priorityClassName", json!(class));
    }
    if !config.node_selector.is_empty() {
        set("nodeSelector", json!(config.node_selector));
    }
    if !config.tolerations.is_empty() {
        set("tolerations", json!(config.tolerations));
    }
    if !config.image_pull_secrets.is_empty() {
        let secrets = config.image_pull_secrets.iter().map(|name| json!({"name": name}));
        set("imagePullSecrets", secrets.collect());
    }
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": of.name,
            "labels": labels(config, of.lease),
            "annotations": config.annotations,
            // With its owner the pod goes too, though no worker be left to remove it.
            "ownerReferences": [
                {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "name": of.lease, "uid": of.lease_uid},
            ],
        },
        "spec": spec,
    })
}

fn user(config: &KubernetesConfig, of: &Particulars<'_>) -> i64 {
    config.run_as_user.unwrap_or(FIRST_USER + 2 * (i64::from(of.number) % USERS))
}

/// Labels of a sandbox's pod: the operator's, and those by which the worker and the network policy find it.
pub(super) fn labels(config: &KubernetesConfig, lease: &str) -> std::collections::BTreeMap<String, String> {
    let own = [(PART_LABEL, PART_SANDBOX), (WORKER_LABEL, lease)];
    let own = own.map(|(name, value)| (name.to_owned(), value.to_owned()));
    config.labels.clone().into_iter().chain(own).collect()
}

fn step_container(config: &KubernetesConfig, of: &Particulars<'_>) -> Value {
    let program = match config.guest_source {
        GuestSource::InitContainer => format!("{GUEST_FOLDER}/guest"),
        GuestSource::ImageVolume => format!("{GUEST_FOLDER}{GUEST_IN_IMAGE}"),
    };
    let mut command = vec![program, "--knock".to_owned()];
    if config.network == NetworkCheck::Verify {
        let mut closed: Vec<String> = of.api.iter().chain(&config.closed).map(ToString::to_string).collect();
        closed.push(format!("$(SAGEWAI_NODE):{KUBELET_PORT}"));
        command.extend(["--closed".to_owned(), closed.join(",")]);
    }
    let mut mounts = vec![json!({"name": "guest", "mountPath": GUEST_FOLDER, "readOnly": true})];
    for (folder, path) in [("workspace", WORKSPACE), ("home", HOME), ("tmp", "/tmp"), ("shm", "/dev/shm")] {
        mounts.push(json!({"name": "scratch", "mountPath": path, "subPath": folder}));
    }
    if config.attestation_audience.is_some() {
        mounts.push(json!({"name": "token", "mountPath": TOKEN_FOLDER, "readOnly": true}));
    }
    let mut container = json!({
        "name": STEP_CONTAINER,
        "image": of.image,
        "command": command,
        "workingDir": WORKSPACE,
        "terminationMessagePath": TERMINATION_FILE,
        "env": [{"name": "SAGEWAI_NODE", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}}],
        "stdin": true,
        // When the worker goes, the guest's input ends, and so does the guest.
        "stdinOnce": true,
        "resources": resources(of.limits),
        "securityContext": container_security(),
        "volumeMounts": mounts,
    });
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

/// It runs as another user than the step, which can so not undo what it closes.
fn guest_container(config: &KubernetesConfig, of: &Particulars<'_>) -> Value {
    let mut security = container_security();
    security["runAsUser"] = json!(user(config, of) + 1);
    let mut container = json!({
        "name": GUEST_CONTAINER,
        "image": config.guest_image,
        "command": [GUEST_IN_IMAGE, "--install", "/guest/guest"],
        "workingDir": "/",
        "resources": resources(of.limits),
        "securityContext": security,
        "volumeMounts": [{"name": "guest", "mountPath": "/guest"}],
    });
    if let Some(policy) = &config.image_pull_policy {
        container["imagePullPolicy"] = json!(policy);
    }
    container
}

/// What Pod Security "restricted" asks of a container, and a root that cannot be written.
fn container_security() -> Value {
    json!({
        "allowPrivilegeEscalation": false,
        "readOnlyRootFilesystem": true,
        "runAsNonRoot": true,
        "privileged": false,
        "capabilities": {"drop": ["ALL"]},
    })
}

/// Requests are limits: a step is not killed because a neighbour needs what it was promised.
fn resources(limits: SandboxLimits) -> Value {
    let amounts =
        json!({"cpu": format!("{}m", limits.cpu_millis), "memory": limits.memory_bytes.to_string()});
    json!({"requests": amounts, "limits": amounts})
}

fn volumes(config: &KubernetesConfig, of: &Particulars<'_>) -> Value {
    let guest = match config.guest_source {
        GuestSource::InitContainer => json!({"name": "guest", "emptyDir": {"sizeLimit": "8Mi"}}),
        GuestSource::ImageVolume => {
            let mut image = json!({"reference": config.guest_image});
            if let Some(policy) = &config.image_pull_policy {
                image["pullPolicy"] = json!(policy);
            }
            json!({"name": "guest", "image": image})
        }
    };
    let mut scratch = json!({"sizeLimit": of.limits.disk_bytes.to_string()});
    if config.scratch == Scratch::Memory {
        scratch["medium"] = json!("Memory");
    }
    let mut volumes = vec![guest, json!({"name": "scratch", "emptyDir": scratch})];
    if let Some(audience) = &config.attestation_audience {
        let token = json!({"audience": audience, "expirationSeconds": TOKEN_SECONDS, "path": "token"});
        volumes.push(json!({"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}));
    }
    Value::Array(volumes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn particulars() -> Particulars<'static> {
        Particulars {
            name: "sagewai-1",
            image: "acme/tool:1",
            limits: SandboxLimits::default(),
            lease: "sagewai-worker-1",
            lease_uid: "u",
            api: &[],
            number: 7,
        }
    }

    fn everything() -> KubernetesConfig {
        KubernetesConfig {
            image_pull_secrets: vec!["registry".into()],
            service_account: Some("sandbox".into()),
            attestation_audience: Some("broker".into()),
            runtime_class: Some("gvisor".into()),
            node_selector: [("pool".to_owned(), "sandboxes".to_owned())].into(),
            tolerations: vec!["only=sandboxes".parse().expect("a toleration")],
            priority_class: Some("low".into()),
            labels: [("team".to_owned(), "a".to_owned()), (PART_LABEL.to_owned(), "forged".to_owned())]
                .into(),
            annotations: [("note".to_owned(), "b".to_owned())].into(),
            image_pull_policy: Some("Always".into()),
            closed: vec!["10.96.0.10:53".parse().expect("an address")],
            ..KubernetesConfig::default()
        }
    }

    #[test]
    fn no_field_of_the_manifest_is_lost() {
        let guests = [GuestSource::InitContainer, GuestSource::ImageVolume];
        for (config, guest) in [KubernetesConfig::default(), everything()].iter().zip(guests) {
            let config = KubernetesConfig { guest_source: guest, ..config.clone() };
            let manifest = manifest(&config, &particulars());
            let mut back = serde_json::to_value(pod(&config, &particulars())).expect("a pod is JSON");
            if config.annotations.is_empty() {
                back["metadata"]["annotations"] = json!({});
            }
            assert_eq!(back, manifest);
        }
    }

    /// The rules of the level `restricted` of the Pod Security Standards, one by one.
    #[test]
    fn pod_security_restricted_is_satisfied() {
        for config in [KubernetesConfig::default(), everything()] {
            let manifest = manifest(&config, &particulars());
            let spec = &manifest["spec"];
            for absent in ["hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace"] {
                assert!(spec[absent].is_null(), "{absent}");
            }
            assert_eq!(spec["securityContext"]["runAsNonRoot"], json!(true));
            assert_ne!(spec["securityContext"]["runAsUser"], json!(0));
            assert_eq!(spec["securityContext"]["seccompProfile"]["type"], json!("RuntimeDefault"));
            let safe = ["net.ipv4.ip_unprivileged_port_start"];
            for sysctl in spec["securityContext"]["sysctls"].as_array().into_iter().flatten() {
                assert!(safe.contains(&sysctl["name"].as_str().expect("a name")));
            }
            for volume in spec["volumes"].as_array().expect("volumes") {
                assert!(
                    ["emptyDir", "projected", "image"].iter().any(|kind| !volume[kind].is_null()),
                    "{volume}"
                );
            }
            let containers =
                ["containers", "initContainers"].map(|key| spec[key].as_array().cloned().unwrap_or_default());
            for container in containers.concat() {
                let security = &container["securityContext"];
                assert_eq!(security["allowPrivilegeEscalation"], json!(false));
                assert_eq!(security["runAsNonRoot"], json!(true));
                assert_eq!(security["readOnlyRootFilesystem"], json!(true));
                assert_eq!(security["capabilities"], json!({"drop": ["ALL"]}));
                assert!(container["ports"].is_null());
                assert_eq!(container["resources"]["limits"], container["resources"]["requests"]);
            }
        }
    }

    #[test]
    fn what_the_operator_configured_is_in_the_pod() {
        let manifest = manifest(&everything(), &particulars());
        let spec = &manifest["spec"];
        assert_eq!(manifest["metadata"]["labels"]["team"], "a");
        assert_eq!(manifest["metadata"]["labels"][PART_LABEL], PART_SANDBOX, "ours cannot be changed");
        assert_eq!(spec["tolerations"], json!([{"key": "only", "operator": "Equal", "value": "sandboxes"}]));
        assert_eq!(spec["nodeSelector"], json!({"pool": "sandboxes"}));
        assert_eq!(spec["imagePullSecrets"], json!([{"name": "registry"}]));
        assert_eq!(spec["runtimeClassName"], "gvisor");
        let closed = &spec["containers"][0]["command"][3];
        assert_eq!(closed, "10.96.0.10:53,$(SAGEWAI_NODE):10250");
        assert_eq!(
            spec["volumes"][2]["projected"]["sources"][0]["serviceAccountToken"]["audience"],
            "broker"
        );
        let open = KubernetesConfig { network: NetworkCheck::AssumeClosed, ..everything() };
        assert_eq!(
            self::manifest(&open, &particulars())["spec"]["containers"][0]["command"],
            json!(["/.sagewai/guest", "--knock"])
        );
    }

    #[test]
    fn each_sandbox_has_a_user_of_its_own_unless_told() {
        let user = |config: &KubernetesConfig, number| {
            let of = Particulars { number, ..particulars() };
            manifest(config, &of)["spec"]["securityContext"]["runAsUser"].as_i64().expect("a number")
        };
        let config = KubernetesConfig::default();
        assert_ne!(user(&config, 1), user(&config, 2));
        assert!((FIRST_USER..i64::from(i32::MAX)).contains(&user(&config, u32::MAX)));
        let fixed = KubernetesConfig { run_as_user: Some(1000), ..config };
        assert_eq!(user(&fixed, 1), 1000);
    }
}
