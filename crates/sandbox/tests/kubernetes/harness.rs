//! A namespace of the test's own, with what an operator puts into it, and a worker's backend in it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{Namespace as ClusterNamespace, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client};
use sandbox::kubernetes::{KubernetesBackend, KubernetesConfig, guest_image};
use sandbox::{SandboxLimits, Template, guest_binary};
use serde_json::{Value, json};

/// Names the administrator's kubeconfig. The cluster's Docker and etcd are in the same folder.
const KUBECONFIG: &str = "SAGEWAI_TEST_KUBECONFIG";
/// Account of the worker in the manifest.
const WORKER: &str = "sagewai-worker";
/// The longest a pod may take to disappear.
const GONE_LIMIT: Duration = Duration::from_secs(90);
/// Pause between two looks.
const LOOK: Duration = Duration::from_millis(100);

/// How the cluster's network plugin treats the pods of a namespace, by its name.
#[derive(Clone, Copy)]
pub(crate) enum Closed {
    /// Loopback alone.
    NoInterface,
    /// An interface whose packets vanish, as where a policy is enforced.
    Filtered,
    /// An interface that reaches the node: nothing enforces the policy.
    Open,
}

/// A namespace of the cluster, as an operator prepares it.
pub(crate) struct Namespace {
    pub(crate) name: String,
    /// The administrator.
    pub(crate) admin: Client,
    /// Folder of the cluster.
    pub(crate) cluster: PathBuf,
    /// Image with the guest alone.
    pub(crate) image: String,
    folder: tempfile::TempDir,
}

/// Runs `test` in a namespace of its own; says so and passes where there is no cluster.
pub(crate) fn with_namespace(closed: Closed, test: impl AsyncFnOnce(&Namespace)) {
    let Some(kubeconfig) = std::env::var_os(KUBECONFIG).map(PathBuf::from) else {
        return eprintln!("skipped: {KUBECONFIG} names no cluster");
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let namespace = Namespace::create(&kubeconfig, closed).await;
        test(&namespace).await;
        namespace.delete().await;
    });
}

impl Namespace {
    async fn create(kubeconfig: &Path, closed: Closed) -> Self {
        let read = Kubeconfig::read_from(kubeconfig).unwrap();
        let config = kube::Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await.unwrap();
        let admin = Client::try_from(config).unwrap();
        let suffix = match closed {
            Closed::NoInterface => "",
            Closed::Filtered => "-filtered",
            Closed::Open => "-open",
        };
        let cluster = kubeconfig.parent().unwrap().to_owned();
        let name = format!("t{}{suffix}", uuid::Uuid::now_v7().simple());
        let image = load_guest(&cluster);
        let namespace = Self { name, admin, cluster, image, folder: tempfile::tempdir().unwrap() };
        namespace.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace.name}})).await;
        namespace.restrict_pods().await;
        namespace.apply_manifest().await;
        namespace
    }

    /// What an operator applies, as it is in the repository.
    async fn apply_manifest(&self) {
        let manifest = include_str!("../../../../deploy/kubernetes/rbac.yaml");
        for document in manifest.split("\n---\n") {
            let kind = document.lines().find_map(|line| line.strip_prefix("kind: ")).unwrap();
            let path = match kind {
                "ServiceAccount" => self.path("/api/v1", "serviceaccounts"),
                "Role" => self.path("/apis/rbac.authorization.k8s.io/v1", "roles"),
                "RoleBinding" => self.path("/apis/rbac.authorization.k8s.io/v1", "rolebindings"),
                other => panic!("{other} in the manifest"),
            };
            self.send("POST", &path, "application/yaml", document.as_bytes().to_vec()).await.unwrap();
        }
    }

    /// What Pod Security "restricted" refuses, this cluster refuses by an older means.
    async fn restrict_pods(&self) {
        let policy = json!({
            "apiVersion": "policy/v1beta1", "kind": "PodSecurityPolicy",
            "metadata": {
                "name": "restricted",
                "annotations": {"seccomp.security.alpha.kubernetes.io/allowedProfileNames": "runtime/default"},
            },
            "spec": {
                "privileged": false, "allowPrivilegeEscalation": false, "requiredDropCapabilities": ["ALL"],
                "volumes": ["configMap", "emptyDir", "projected", "secret"],
                "allowedUnsafeSysctls": ["net.ipv4.ip_unprivileged_port_start"],
                "runAsUser": {"rule": "MustRunAsNonRoot"}, "readOnlyRootFilesystem": true,
                "seLinux": {"rule": "RunAsAny"},
                "supplementalGroups": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 2_147_483_647}]},
                "fsGroup": {"rule": "MustRunAs", "ranges": [{"min": 1, "max": 2_147_483_647}]},
            },
        });
        let made = self
            .send(
                "POST",
                "/apis/policy/v1beta1/podsecuritypolicies",
                "application/json",
                policy.to_string().into_bytes(),
            )
            .await;
        assert!(
            made.is_ok() || matches!(&made, Err(kube::Error::Api(status)) if status.code == 409),
            "{made:?}"
        );
        let rbac = "/apis/rbac.authorization.k8s.io/v1";
        let role = json!({
            "metadata": {"name": "restricted-pods"},
            "rules": [{"apiGroups": ["policy"], "resources": ["podsecuritypolicies"], "resourceNames": ["restricted"], "verbs": ["use"]}],
        });
        self.post(&self.path(rbac, "roles"), &role).await;
        let binding = json!({
            "metadata": {"name": "restricted-pods"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "restricted-pods"},
            "subjects": [{"kind": "Group", "name": format!("system:serviceaccounts:{}", self.name)}],
        });
        self.post(&self.path(rbac, "rolebindings"), &binding).await;
    }

    pub(crate) fn path(&self, group: &str, resource: &str) -> String {
        format!("{group}/namespaces/{}/{resource}", self.name)
    }

    pub(crate) async fn post(&self, path: &str, object: &Value) -> Value {
        let answer = self.send("POST", path, "application/json", object.to_string().into_bytes()).await;
        serde_json::from_str(&answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))).unwrap()
    }

    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        kind: &str,
        body: Vec<u8>,
    ) -> Result<String, kube::Error> {
        let request =
            http::Request::builder().method(method).uri(path).header("Content-Type", kind).body(body);
        self.admin.request_text(request.unwrap()).await
    }

    /// A worker's configuration, with the worker's own rights.
    pub(crate) async fn config(&self) -> KubernetesConfig {
        let path = self.path("/api/v1", &format!("serviceaccounts/{WORKER}/token"));
        let asked = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"expirationSeconds": 7200}});
        let answer = self.post(&path, &asked).await;
        let token = answer["status"]["token"].as_str().unwrap();
        let admin = std::fs::read_to_string(self.cluster.join("kubeconfig")).unwrap();
        let worker: Vec<String> = admin
            .lines()
            .map(|line| match line.split_once("token: ") {
                Some((before, _)) => format!("{before}token: {token}"),
                None => line.to_owned(),
            })
            .collect();
        let file = self.folder.path().join("worker.kubeconfig");
        std::fs::write(&file, worker.join("\n")).unwrap();
        KubernetesConfig {
            kubeconfig: Some(file),
            namespace: Some(self.name.clone()),
            image: Some(self.image.clone()),
            guest_image: self.image.clone(),
            image_pull_policy: Some("IfNotPresent".to_owned()),
            service_account: Some("sagewai-sandbox".to_owned()),
            lease_seconds: 5,
            ..KubernetesConfig::default()
        }
    }

    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.send("GET", path, "application/json", Vec::new()).await;
        serde_json::from_str(&answer.unwrap_or_else(|error| panic!("{path}: {error:?}"))).unwrap()
    }

    pub(crate) async fn delete_at(&self, path: &str) {
        self.send("DELETE", path, "application/json", Vec::new())
            .await
            .unwrap_or_else(|error| panic!("{path}: {error:?}"));
    }

    /// Waits until `holds`, or fails.
    pub(crate) async fn until(&self, what: &str, holds: impl AsyncFn() -> bool) {
        let began = Instant::now();
        while !holds().await {
            assert!(began.elapsed() < GONE_LIMIT, "not after {GONE_LIMIT:?}: {what}");
            tokio::time::sleep(LOOK).await;
        }
    }

    /// A worker's backend.
    pub(crate) async fn backend(&self) -> Arc<KubernetesBackend> {
        KubernetesBackend::new(self.config().await)
    }

    fn pods(&self) -> Api<Pod> {
        Api::namespaced(self.admin.clone(), &self.name)
    }

    pub(crate) async fn pod_names(&self) -> Vec<String> {
        let pods = self.pods().list(&ListParams::default()).await.unwrap().items;
        pods.into_iter().filter_map(|pod| pod.metadata.name).collect()
    }

    /// Waits until no pod is left.
    pub(crate) async fn expect_no_pods(&self) {
        self.until("no pod is left", async || self.pod_names().await.is_empty()).await;
    }

    async fn delete(&self) {
        let all: Api<ClusterNamespace> = Api::all(self.admin.clone());
        let grace = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
        _ = self.pods().delete_collection(&grace, &ListParams::default()).await;
        all.delete(&self.name, &DeleteParams::default()).await.unwrap();
    }
}

/// A template of pods of which several fit on one node.
pub(crate) fn small() -> Template {
    let limits = SandboxLimits { cpu_millis: 200, ..SandboxLimits::default() };
    Template { limits, ..Template::default() }
}

/// The node's Docker.
fn docker(cluster: &Path) -> Command {
    let mut docker = Command::new("docker");
    docker.arg("--host").arg(format!("unix://{}", cluster.join("docker.sock").display()));
    docker
}

/// An image with the guest and nothing else; its name holds the guest's own, so that a new guest is a new image.
fn load_guest(cluster: &Path) -> String {
    let guest = guest_binary();
    let mut hash = std::hash::DefaultHasher::new();
    std::hash::Hash::hash(guest, &mut hash);
    let name = format!("sagewai-guest:{:016x}", std::hash::Hasher::finish(&hash));
    let there = docker(cluster).args(["image", "inspect", &name]).output().unwrap();
    if there.status.success() {
        return name;
    }
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("guest.tar");
    std::fs::write(&archive, guest_image(&name)).unwrap();
    let loaded = docker(cluster).args(["load", "--input"]).arg(&archive).output().unwrap();
    assert!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
    name
}
