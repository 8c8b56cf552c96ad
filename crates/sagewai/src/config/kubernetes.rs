//! What sandboxes in a Kubernetes cluster are configured with.

use std::path::PathBuf;

use super::layers::Layers;
use super::parts::path;
use super::values::{List, Pairs};
use crate::failure::Failure;

/// The image of a pod whose step names none: scripts are Python's as a rule.
const IMAGE: &str = "docker.io/library/python:3-slim";
/// The guest's image, as `sagewai sandbox kubernetes guest-image` names it.
const GUEST_IMAGE: &str = concat!("sagewai-guest:", env!("CARGO_PKG_VERSION"));

/// The Kubernetes sandbox backend. Empty texts stand for what the cluster has by default.
#[derive(Clone, Debug)]
pub(crate) struct KubernetesSettings {
    pub(crate) kubeconfig: Option<PathBuf>,
    pub(crate) context: Option<String>,
    pub(crate) namespace: Option<String>,
    pub(crate) image: String,
    pub(crate) guest_image: String,
    pub(crate) guest_source: String,
    pub(crate) pull: String,
    pub(crate) pull_secrets: List,
    pub(crate) service_account: Option<String>,
    pub(crate) attestation_audience: Option<String>,
    pub(crate) runtime_class: Option<String>,
    pub(crate) node_selector: Pairs,
    pub(crate) tolerations: List,
    pub(crate) priority_class: Option<String>,
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    pub(crate) run_as_user: Option<String>,
    pub(crate) scratch: String,
    pub(crate) low_ports: bool,
    pub(crate) network: String,
    pub(crate) closed: List,
    pub(crate) schedule_seconds: u64,
    pub(crate) start_seconds: u64,
    pub(crate) pod_seconds: u64,
    pub(crate) lease_seconds: u32,
}

impl KubernetesSettings {
    pub(super) fn resolve(layers: &Layers) -> Result<KubernetesSettings, Failure> {
        let kubeconfig = path(layers, "kubernetes.kubeconfig", None, PathBuf::new)?;
        let optional = |name: &str| {
            let text: String = layers.pick(name, None, String::new)?;
            Ok::<_, Failure>(Some(text).filter(|text| !text.is_empty()))
        };
        let text = |name: &str, default: &str| layers.pick(name, None, || default.to_owned());
        let list = |name: &str| layers.pick(name, None, List::default);
        let pairs = |name: &str| layers.pick(name, None, Pairs::default);
        Ok(KubernetesSettings {
            kubeconfig: (!kubeconfig.as_os_str().is_empty()).then_some(kubeconfig),
            context: optional("kubernetes.context")?,
            namespace: optional("kubernetes.namespace")?,
            image: text("kubernetes.image", IMAGE)?,
            guest_image: text("kubernetes.guest-image", GUEST_IMAGE)?,
            guest_source: text("kubernetes.guest-source", "init-container")?,
            pull: text("kubernetes.pull", "")?,
            pull_secrets: list("kubernetes.pull-secrets")?,
            service_account: optional("kubernetes.service-account")?,
            attestation_audience: optional("kubernetes.attestation-audience")?,
            runtime_class: optional("kubernetes.runtime-class")?,
            node_selector: pairs("kubernetes.node-selector")?,
            tolerations: list("kubernetes.tolerations")?,
            priority_class: optional("kubernetes.priority-class")?,
            labels: pairs("kubernetes.labels")?,
            annotations: pairs("kubernetes.annotations")?,
            run_as_user: optional("kubernetes.run-as-user")?,
            scratch: text("kubernetes.scratch", "memory")?,
            low_ports: layers.pick("kubernetes.low-ports", None, || true)?,
            network: text("kubernetes.network", "verify")?,
            closed: list("kubernetes.closed")?,
            schedule_seconds: layers.pick("kubernetes.schedule-seconds", None, || 120)?,
            start_seconds: layers.pick("kubernetes.start-seconds", None, || 300)?,
            pod_seconds: layers.pick("kubernetes.pod-seconds", None, || 24 * 60 * 60)?,
            lease_seconds: layers.pick("kubernetes.lease-seconds", None, || 30)?,
        })
    }
}
