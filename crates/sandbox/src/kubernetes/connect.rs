//! The cluster's API as the configuration finds it.

use std::net::SocketAddr;
use std::time::Duration;

use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use super::config::KubernetesConfig;
use super::reason::unavailable;
use crate::SandboxError;

/// The longest the API may be silent. Watches end by themselves before it.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(295);
/// The longest a connection to the API may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);
/// Addresses of the API that guests try, at most.
const MOST_ADDRESSES: usize = 4;

/// A way to the cluster.
pub(super) struct Cluster {
    pub(super) client: Client,
    /// Where the pods are.
    pub(super) namespace: String,
    /// Addresses of the API, as far as they mean the same inside a pod.
    pub(super) api: Vec<SocketAddr>,
}

/// Reads what names the cluster; nothing is asked of it yet.
pub(super) async fn connect(config: &KubernetesConfig) -> Result<Cluster, SandboxError> {
    let mut found = find(config).await.map_err(|reason| {
        unavailable(
            format!("its cluster is not known: {reason}"),
            "name it in `kubernetes.kubeconfig`, or run the worker in a pod with a service account",
        )
    })?;
    found.connect_timeout = Some(CONNECT_LIMIT);
    found.read_timeout = Some(READ_LIMIT);
    let namespace = config.namespace.clone().unwrap_or_else(|| found.default_namespace.clone());
    let api = addresses(&found.cluster_url).await;
    let client = Client::try_from(found).map_err(|error| {
        unavailable(format!("its client cannot be made: {error}"), "check the certificates in the kubeconfig")
    })?;
    Ok(Cluster { client, namespace, api })
}

async fn find(config: &KubernetesConfig) -> Result<Config, String> {
    let options = KubeConfigOptions { context: config.context.clone(), ..KubeConfigOptions::default() };
    match &config.kubeconfig {
        Some(file) => {
            let read = Kubeconfig::read_from(file).map_err(|error| told(&error))?;
            Config::from_custom_kubeconfig(read, &options).await.map_err(|error| told(&error))
        }
        None if config.context.is_some() => {
            Config::from_kubeconfig(&options).await.map_err(|error| told(&error))
        }
        None => Config::infer().await.map_err(|error| told(&error)),
    }
}

/// An error with its causes.
fn told(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// Where the API is; loopback is another inside a pod.
async fn addresses(url: &http::Uri) -> Vec<SocketAddr> {
    let port = url.port_u16().unwrap_or(if url.scheme_str() == Some("http") { 80 } else { 443 });
    let host = url.host().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let Ok(found) = tokio::net::lookup_host((host, port)).await else { return Vec::new() };
    found.filter(|address| !address.ip().is_loopback()).take(MOST_ADDRESSES).collect()
}
