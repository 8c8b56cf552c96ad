//! What an operator says about sandboxes in a cluster.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::Serialize;

/// Sandboxes in a Kubernetes cluster. The default finds the cluster as kubectl does, or from inside a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubernetesConfig {
    /// A kubeconfig file; absent: `$KUBECONFIG`, `~/.kube/config`, or the service account of the worker's own pod.
    pub kubeconfig: Option<PathBuf>,
    /// A context of the kubeconfig; absent: its current one.
    pub context: Option<String>,
    /// Namespace of the pods; absent: the context's, or the worker's own.
    pub namespace: Option<String>,
    /// Image of steps that name none; absent: such steps are refused.
    pub image: Option<String>,
    /// Image with the guest as `/sagewai-guest`; `sagewai sandbox kubernetes guest-image` makes it.
    pub guest_image: String,
    /// How the guest gets from its image into the pod.
    pub guest_source: GuestSource,
    /// `Always`, `IfNotPresent` or `Never`; absent: the cluster's rule.
    pub image_pull_policy: Option<String>,
    /// Secrets of type `kubernetes.io/dockerconfigjson` in the namespace.
    pub image_pull_secrets: Vec<String>,
    /// Service account of the pods; absent: `default`. Its token is not mounted.
    pub service_account: Option<String>,
    /// Audience of a token of that account for the broker, which proves which pod a guest is in; absent: no token.
    pub attestation_audience: Option<String>,
    /// A RuntimeClass, such as one of gVisor or Kata.
    pub runtime_class: Option<String>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Taints that are tolerated.
    pub tolerations: Vec<Toleration>,
    /// A PriorityClass.
    pub priority_class: Option<String>,
    /// Further labels of the pods. Those of `sagewai.dev/` are the worker's.
    pub labels: BTreeMap<String, String>,
    /// Annotations of the pods.
    pub annotations: BTreeMap<String, String>,
    /// User and group of every sandbox; absent: another for each, so that limits of a user are those of one sandbox.
    pub run_as_user: Option<i64>,
    /// Where /workspace, /tmp and the home folder are.
    pub scratch: Scratch,
    /// Whether pods are told that ports below 1024 are open to all, which the names of the allow-list need. Safe since
    /// Kubernetes 1.22; earlier ones need it among the kubelet's `allowedUnsafeSysctls`.
    pub low_ports: bool,
    /// How sure it must be that a pod's network is closed.
    pub network: NetworkCheck,
    /// Further addresses that must not answer from inside a pod, such as the cluster's DNS (`10.96.0.10:53`).
    pub closed: Vec<SocketAddr>,
    /// How long a pod may wait for a node, seconds: a cluster that adds nodes needs minutes.
    pub schedule_seconds: u64,
    /// How long a pod with a node may take to run, seconds; images are pulled in this time.
    pub start_seconds: u64,
    /// Age at which the cluster itself ends a pod, seconds: the last resort, and so the longest step.
    pub pod_seconds: u64,
    /// How long a worker may be silent before others remove its pods, seconds.
    pub lease_seconds: u32,
}

impl Default for KubernetesConfig {
    fn default() -> Self {
        Self {
            kubeconfig: None,
            context: None,
            namespace: None,
            image: None,
            guest_image: format!("sagewai-guest:{}", env!("CARGO_PKG_VERSION")),
            guest_source: GuestSource::InitContainer,
            image_pull_policy: None,
            image_pull_secrets: Vec::new(),
            service_account: None,
            attestation_audience: None,
            runtime_class: None,
            node_selector: BTreeMap::new(),
            tolerations: Vec::new(),
            priority_class: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            run_as_user: None,
            scratch: Scratch::Memory,
            low_ports: true,
            network: NetworkCheck::Verify,
            closed: Vec::new(),
            schedule_seconds: 120,
            start_seconds: 300,
            pod_seconds: 24 * 60 * 60,
            lease_seconds: 30,
        }
    }
}

/// How the guest gets into a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GuestSource {
    /// An init container copies it out of its image; works everywhere.
    InitContainer,
    /// Its image is mounted as a volume: one container less; Kubernetes 1.33 and later with a runtime that can.
    ImageVolume,
}

/// Where a sandbox's writable folders are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scratch {
    /// In memory, within the memory limit; the size holds exactly from Kubernetes 1.22 on.
    Memory,
    /// On the node's disk; a pod that exceeds its limit is evicted when the kubelet notices.
    Disk,
}

/// How sure it must be that a pod's network is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetworkCheck {
    /// A policy that denies all is in place, no other allows anything, and the guest finds nothing that answers.
    Verify,
    /// Steps start in whatever network there is: for clusters that close it in a way that the guest takes for open.
    /// Every worker start says so in its log.
    AssumeClosed,
}

/// A taint that pods tolerate. Written as kubectl writes taints: `KEY=VALUE:EFFECT`, `KEY:EFFECT` or `KEY`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Toleration {
    /// Key of the taint.
    pub key: String,
    /// `Equal` with a value, `Exists` without.
    pub operator: &'static str,
    /// Value of the taint.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`; absent: all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effect: Option<String>,
}

impl FromStr for Toleration {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (taint, effect) =
            text.split_once(':').map_or((text, None), |(taint, effect)| (taint, Some(effect)));
        let (key, value) = taint.split_once('=').map_or((taint, None), |(key, value)| (key, Some(value)));
        let known =
            effect.is_none_or(|effect| ["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect));
        if key.is_empty() || !known {
            return Err(format!(
                "`{text}` is no toleration: write KEY=VALUE:EFFECT, KEY:EFFECT or KEY, the effect being NoSchedule, \
                 PreferNoSchedule or NoExecute"
            ));
        }
        Ok(Self {
            key: key.to_owned(),
            operator: if value.is_some() { "Equal" } else { "Exists" },
            value: value.map(str::to_owned),
            effect: effect.map(str::to_owned),
        })
    }
}

/// One of a few words, or a sentence that names them.
fn word<T: Copy>(text: &str, known: &[(&str, T)]) -> Result<T, String> {
    let found = known.iter().find(|(name, _)| *name == text);
    let names = || known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
    found.map(|(_, value)| *value).ok_or_else(|| format!("`{text}` is none of {}", names()))
}

impl FromStr for GuestSource {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word(text, &[("init-container", Self::InitContainer), ("image-volume", Self::ImageVolume)])
    }
}

impl FromStr for Scratch {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word(text, &[("memory", Self::Memory), ("disk", Self::Disk)])
    }
}

impl FromStr for NetworkCheck {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        word(text, &[("verify", Self::Verify), ("assume-closed", Self::AssumeClosed)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tolerations_are_written_as_taints_are() {
        let read = |text: &str| {
            text.parse::<Toleration>().map(|found| (found.key, found.operator, found.value, found.effect))
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(
            read("only=sandboxes:NoSchedule"),
            Ok(("only".into(), "Equal", some("sandboxes"), some("NoSchedule")))
        );
        assert_eq!(read("spot:NoExecute"), Ok(("spot".into(), "Exists", None, some("NoExecute"))));
        assert_eq!(read("spot"), Ok(("spot".into(), "Exists", None, None)));
        for wrong in ["", "=x", "key:Never", ":NoSchedule"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn unknown_words_are_told_with_the_known_ones() {
        assert_eq!("disk".parse(), Ok(Scratch::Disk));
        assert_eq!("verify".parse(), Ok(NetworkCheck::Verify));
        assert_eq!("image-volume".parse(), Ok(GuestSource::ImageVolume));
        assert_eq!("off".parse::<NetworkCheck>(), Err("`off` is none of verify, assume-closed".to_owned()));
    }
}
