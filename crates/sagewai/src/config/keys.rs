//! Every setting by name: the one list behind the file's check, the environment and `sagewai config show`.

/// A setting.
#[derive(Debug)]
pub(crate) struct Key {
    /// Part and name, as in the file: `[server] listen` is `server.listen`.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) help: &'static str,
}

impl Key {
    /// The environment variable that sets it, such as `SAGEWAI_SERVER_LISTEN`. Those of the client have short names.
    pub(crate) fn variable(&self) -> String {
        let name = self.name.strip_prefix("client.").unwrap_or(self.name);
        format!("SAGEWAI_{}", name.replace(['.', '-'], "_").to_uppercase())
    }
}

const fn key(name: &'static str, help: &'static str) -> Key {
    Key { name, help }
}

/// Every setting, by part.
pub(crate) const KEYS: &[Key] = &[
    key("client.server", "URL of the server that commands talk to"),
    key("client.token-file", "file with the API token"),
    key("server.listen", "address of the REST API and of the workers' gRPC"),
    key("server.data", "folder of the database, the blobs and the grant key"),
    key("server.name", "name of this server in grants"),
    key("server.lease", "seconds a silent worker keeps its steps"),
    key("server.heartbeat", "seconds between a worker's heartbeats"),
    key(
        "server.keep-runs",
        "how long ended runs are kept, such as 90d, and how many at most, such as 90d,1000000; or all",
    ),
    key("server.log", "log filter"),
    key("broker.listen", "address of the workers' API of the broker"),
    key("broker.data", "folder of the builtin identities, the audit trail and the admin socket"),
    key("broker.log", "log filter"),
    key("worker.server", "URL of the server"),
    key("worker.broker", "URL of the broker; empty means no step with an identity"),
    key("worker.broker-key", "the broker's public key, or a file with it"),
    key("worker.data", "folder of the worker's credential and key"),
    key("worker.name", "name of the worker, unique at the server"),
    key("worker.join-token-file", "file with the join token, for the first start"),
    key("worker.labels", "labels that steps may require, key=value"),
    key("worker.slots", "steps at once"),
    key("worker.step-timeout", "seconds a step may take, if its document says nothing"),
    key("worker.allow-bare", "whether `run` tasks are allowed in mode 0, as the worker's user"),
    key("worker.agents", "folder of the manifests of CLI agents"),
    key("worker.allow-private", "private destinations that steps may name, host:port or network"),
    key("worker.sandboxes", "sandbox backends, best first: namespace, docker, kubernetes, lambda"),
    key("worker.sandbox-path", "host folders that sandboxes see read-only beside the system's"),
    key("worker.layers", "isolation layers that must hold; a missing one refuses steps"),
    key("worker.warm", "sandboxes kept warm at most"),
    key("worker.log", "log filter"),
    key(
        "images.cache",
        "folder of the images of namespace sandboxes; several workers of one user may share it",
    ),
    key(
        "images.max-mib",
        "size of that cache; what no sandbox uses goes first, the longest unused before others",
    ),
    key("images.pull", "when registries are asked: if-not-present, always, never"),
    key("images.registries", "file with credentials of registries, in the form of Docker's config.json"),
    key("images.insecure", "registries, host:port, that are spoken to in plain HTTP and may be private"),
    key("images.allow-private", "private destinations that may be registries, host:port or network"),
    key("docker.host", "where the Docker daemon listens: unix://, tcp://, https:// or ssh://"),
    key("docker.certificates", "folder with ca.pem, cert.pem and key.pem; with it, tcp:// is TLS"),
    key("docker.image", "image of a Docker sandbox whose step names none"),
    key("docker.pull", "when images are pulled: always, if-not-present, never"),
    key("docker.registries", "file with credentials of registries, in the form of Docker's config.json"),
    key("docker.runtime", "runtime of the containers, such as runsc; empty means the daemon's own"),
    key(
        "kubernetes.kubeconfig",
        "kubeconfig of the cluster; empty means what kubectl uses, or the worker's own pod",
    ),
    key("kubernetes.context", "context of the kubeconfig; empty means its current one"),
    key("kubernetes.namespace", "namespace of the pods; empty means the context's"),
    key("kubernetes.image", "image of a pod whose step names none"),
    key("kubernetes.guest-image", "image with the guest, see sagewai sandbox kubernetes guest-image"),
    key(
        "kubernetes.guest-source",
        "how the guest gets into a pod: init-container, or image-volume (Kubernetes 1.33)",
    ),
    key("kubernetes.pull", "imagePullPolicy: Always, IfNotPresent, Never; empty means the cluster's rule"),
    key("kubernetes.pull-secrets", "names of image pull secrets of the namespace"),
    key("kubernetes.service-account", "service account of the pods; its token is not mounted"),
    key(
        "kubernetes.attestation-audience",
        "audience of a token for the broker in each pod; empty means none",
    ),
    key("kubernetes.runtime-class", "RuntimeClass of the pods, such as gvisor"),
    key("kubernetes.node-selector", "labels that a node must have, key=value"),
    key("kubernetes.tolerations", "taints that are tolerated: KEY=VALUE:EFFECT, KEY:EFFECT or KEY"),
    key("kubernetes.priority-class", "PriorityClass of the pods"),
    key("kubernetes.labels", "further labels of the pods, key=value"),
    key("kubernetes.annotations", "annotations of the pods, key=value"),
    key("kubernetes.run-as-user", "user of every pod; empty means another for each"),
    key("kubernetes.scratch", "where a pod's writable folders are: memory, within its limit, or disk"),
    key(
        "kubernetes.low-ports",
        "whether pods set net.ipv4.ip_unprivileged_port_start, which the tunnel needs",
    ),
    key("kubernetes.network", "verify that a pod's network is closed, or assume-closed"),
    key("kubernetes.closed", "further addresses that must not answer inside a pod, address:port"),
    key("kubernetes.schedule-seconds", "how long a pod may wait for a node"),
    key("kubernetes.start-seconds", "how long a pod with a node may take to run, its image's pull included"),
    key("kubernetes.pod-seconds", "age at which the cluster ends a pod: the longest step"),
    key("kubernetes.lease-seconds", "how long a silent worker keeps its pods"),
    key("lambda.function", "name of the function whose invocations are sandboxes"),
    key("lambda.qualifier", "alias or version that is invoked; empty means the unpublished latest"),
    key("lambda.region", "AWS region; empty means what AWS's own tools use"),
    key("lambda.endpoint", "URL of AWS Lambda's API in the place of AWS's own, as of a VPC endpoint"),
    key(
        "lambda.credentials",
        "file of AWS credentials; empty means the standard chain: environment, profile, role",
    ),
    key("lambda.listen", "where the worker listens for the functions' guests, address:port"),
    key("lambda.advertise", "where guests find it, host:port; empty means the address it listens on"),
    key(
        "lambda.open-network",
        "whether steps get the function's network as it is; otherwise no internet sockets",
    ),
    key(
        "lambda.dial-seconds",
        "how long an invoked function may take to dial the worker, a cold start included",
    ),
    key("dev.data", "folder of everything that dev keeps"),
    key("dev.listen", "address of dev's server"),
    key("dev.broker-listen", "address of dev's broker"),
    key("dev.log", "log filter of dev's processes"),
];

/// The part and the name that are nearest to a name that is no setting.
pub(super) fn nearest(wanted: &str) -> Option<&'static str> {
    let (distance, name) = KEYS.iter().map(|key| (distance(wanted, key.name), key.name)).min()?;
    (distance <= wanted.len().max(3) / 3).then_some(name)
}

/// Levenshtein's distance.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let cost = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_name_is_suggested_and_a_far_one_is_not() {
        assert_eq!(nearest("server.lisen"), Some("server.listen"));
        assert_eq!(nearest("worker.lables"), Some("worker.labels"));
        assert_eq!(nearest("colour"), None);
    }

    #[test]
    fn variables_follow_the_names() {
        let variable = |name: &str| KEYS.iter().find(|key| key.name == name).map(Key::variable);
        assert_eq!(variable("client.token-file").as_deref(), Some("SAGEWAI_TOKEN_FILE"));
        assert_eq!(variable("worker.allow-bare").as_deref(), Some("SAGEWAI_WORKER_ALLOW_BARE"));
        let all: std::collections::BTreeSet<String> = KEYS.iter().map(Key::variable).collect();
        assert_eq!(all.len(), KEYS.len());
    }
}
