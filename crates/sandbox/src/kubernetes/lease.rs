//! The lease by which a worker owns its pods, and the sweep of what dead workers left.
//!
//! Everything that a worker makes names its lease as owner. It renews the lease; a lease that nobody renews is removed by
//! any worker of the namespace, its pods with it, and what is overlooked the cluster removes with its owner.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use super::reason::{is_absent, refused};
use super::{PART_LABEL, PART_WORKER, WORKER_LABEL};
use crate::SandboxError;

/// Names the worker's own pod and its uid, where the worker runs in the cluster: from the downward API.
const OWN_POD: (&str, &str) = ("SAGEWAI_POD_NAME", "SAGEWAI_POD_UID");
/// A lease that was not renewed for this many of its durations is nobody's.
const SILENT_DURATIONS: u32 = 2;

/// A worker's lease.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) uid: String,
}

/// Makes a worker's lease. If the worker is a pod of the same namespace, the lease goes with that pod.
pub(super) async fn create(leases: &Api<Lease>, name: &str, seconds: u32) -> Result<Owner, SandboxError> {
    let mut manifest = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "labels": {PART_LABEL: PART_WORKER, WORKER_LABEL: name}},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": seconds, "renewTime": now()},
    });
    if let (Ok(pod), Ok(uid)) = (std::env::var(OWN_POD.0), std::env::var(OWN_POD.1)) {
        manifest["metadata"]["ownerReferences"] =
            json!([{"apiVersion": "v1", "kind": "Pod", "name": pod, "uid": uid}]);
    }
    let lease: Lease = serde_json::from_value(manifest).expect("a manifest of ours is a lease");
    let made = leases.create(&PostParams::default(), &lease).await;
    let made = made.map_err(|error| refused("create a lease", &error))?;
    let uid = made
        .metadata
        .uid
        .ok_or_else(|| SandboxError::Create("the cluster gave a lease no uid".to_owned()))?;
    Ok(Owner { name: name.to_owned(), uid })
}

/// Renews it; `false` where it is gone, so that a new one is needed.
pub(super) async fn renew(leases: &Api<Lease>, owner: &Owner) -> Result<bool, SandboxError> {
    let patch = json!({"metadata": {"uid": owner.uid}, "spec": {"renewTime": now()}});
    match leases.patch(&owner.name, &PatchParams::default(), &Patch::Merge(patch)).await {
        Ok(_) => Ok(true),
        Err(error) if is_absent(&error) => Ok(false),
        Err(error) => Err(refused("renew a lease", &error)),
    }
}

fn now() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.6fZ").to_string()
}

/// Watches the leases of all workers by this machine's own clock: those of others may differ.
#[derive(Default)]
pub(super) struct Sweeper {
    seen: HashMap<String, (String, Instant)>,
}

impl Sweeper {
    /// Removes what belongs to leases that nobody renews; how many workers were swept.
    pub(super) async fn sweep(
        &mut self,
        leases: &Api<Lease>,
        pods: &Api<Pod>,
        own: &str,
    ) -> Result<usize, SandboxError> {
        let selector = format!("{PART_LABEL}={PART_WORKER}");
        let listed = leases.list(&ListParams::default().labels(&selector)).await;
        let listed = listed.map_err(|error| refused("list leases", &error))?;
        let silent = self.silent(&listed.items, own, Instant::now());
        for name in &silent {
            remove(leases, pods, name).await?;
            self.seen.remove(name);
            tracing::info!(worker = name, "removed what a worker left that no longer renews its lease");
        }
        Ok(silent.len())
    }

    /// Leases that have shown no change for too long.
    fn silent(&mut self, leases: &[Lease], own: &str, now: Instant) -> Vec<String> {
        let mut silent = Vec::new();
        let mut seen = HashMap::new();
        for lease in leases {
            let (Some(name), Some(version)) = (&lease.metadata.name, &lease.metadata.resource_version) else {
                continue;
            };
            if name == own {
                continue;
            }
            let since = match self.seen.remove(name) {
                Some((before, since)) if before == *version => since,
                _ => now,
            };
            let seconds = lease.spec.as_ref().and_then(|spec| spec.lease_duration_seconds).unwrap_or(0);
            let limit = Duration::from_secs(seconds.max(1).unsigned_abs().into()) * SILENT_DURATIONS;
            if now.duration_since(since) >= limit {
                silent.push(name.clone());
            }
            seen.insert(name.clone(), (version.clone(), since));
        }
        self.seen = seen;
        silent
    }
}

/// Removes the pods of a lease and then the lease: while it is there, the next sweep finds what this one could not remove.
pub(super) async fn remove(leases: &Api<Lease>, pods: &Api<Pod>, name: &str) -> Result<(), SandboxError> {
    let selector = format!("{WORKER_LABEL}={name}");
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    for pod in listed.map_err(|error| refused("list pods", &error))?.items {
        remove_pod(pods, &pod.metadata.name.unwrap_or_default(), pod.metadata.uid).await?;
    }
    match leases.delete(name, &DeleteParams::default()).await {
        Err(error) if !is_absent(&error) => Err(refused("delete a lease", &error)),
        _ => Ok(()),
    }
}

/// Tells the cluster to end a pod and to forget it.
pub(super) async fn remove_pod(pods: &Api<Pod>, name: &str, uid: Option<String>) -> Result<(), SandboxError> {
    let preconditions = uid.map(|uid| kube::api::Preconditions { uid: Some(uid), resource_version: None });
    match pods.delete(name, &DeleteParams { preconditions, ..DeleteParams::default() }).await {
        Err(error) if !is_absent(&error) && !super::reason::is_conflict(&error) => {
            Err(refused("delete a pod", &error))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, version: &str) -> Lease {
        let manifest = json!({"metadata": {"name": name, "resourceVersion": version}, "spec": {"leaseDurationSeconds": 10}});
        serde_json::from_value(manifest).expect("a lease")
    }

    #[test]
    fn a_lease_is_nobodys_after_two_durations_without_a_change() {
        let mut sweeper = Sweeper::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let two = |one: &str, other: &str| [lease("own", "1"), lease("one", one), lease("other", other)];
        assert!(sweeper.silent(&two("1", "1"), "own", at(0)).is_empty(), "a stranger is given time");
        assert!(sweeper.silent(&two("1", "2"), "own", at(15)).is_empty());
        assert_eq!(sweeper.silent(&two("1", "2"), "own", at(20)), ["one"]);
        assert_eq!(sweeper.silent(&two("2", "2"), "own", at(40)), ["other"], "one came back");
        assert!(sweeper.silent(&[], "own", at(100)).is_empty());
        assert!(sweeper.silent(&two("2", "2"), "own", at(101)).is_empty(), "what was gone is new again");
    }
}
