//! What is in a pod: a token for the broker alone, and nothing secret anywhere in the cluster.

use sandbox::conformance::{Step, run};
use sandbox::kubernetes::{KubernetesBackend, KubernetesConfig};
use sandbox::suite::Subject;
use sandbox::{Backend, Session};
use serde_json::json;

use super::harness::{Closed, small, with_namespace};

/// Audience of tokens.
const AUDIENCE: &str = "sagewai-broker";
/// What must be found nowhere.
const CANARY: &str = "canary-3f1c9a7e5b2d4860";

#[test]
fn the_token_of_a_pod_is_for_the_broker_and_names_the_pod() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let config =
            KubernetesConfig { attestation_audience: Some(AUDIENCE.to_owned()), ..namespace.config().await };
        let backend = KubernetesBackend::new(config);
        let subject = Subject { template: small(), ..Subject::new(backend) };
        let mut session = subject.open().await.unwrap();
        let name = session.id().to_string();
        let ran = run(&mut session, subject.probe(["cat", "/.sagewai-token/token"])).await;
        assert_eq!(ran.code(), Some(0), "{ran:?}");
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview",
            "spec": {"token": ran.text(), "audiences": [AUDIENCE]},
        });
        let status =
            namespace.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await["status"].clone();
        assert_eq!(status["authenticated"], json!(true), "{status}");
        assert_eq!(status["user"]["extra"]["authentication.kubernetes.io/pod-name"], json!([name]));
        let api = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": ran.text()},
        });
        let status =
            namespace.post("/apis/authentication.k8s.io/v1/tokenreviews", &api).await["status"].clone();
        assert_ne!(status["authenticated"], json!(true), "the API itself takes it: {status}");
        session.discard().await.unwrap();
    });
}

#[test]
fn no_token_is_mounted_unless_asked_for() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let subject = Subject { template: small(), ..Subject::new(namespace.backend().await) };
        let mut session = subject.open().await.unwrap();
        let ran =
            run(&mut session, subject.probe(["cat", "/var/run/secrets/kubernetes.io/serviceaccount/token"]))
                .await;
        assert_ne!(ran.code(), Some(0), "{ran:?}");
        session.discard().await.unwrap();
    });
}

/// Environment, files, standard input and output of a step are the guest's and the worker's business alone.
#[test]
fn nothing_of_a_step_is_in_the_cluster() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let subject = Subject { template: small(), ..Subject::new(namespace.backend().await) };
        let mut session = subject.open().await.unwrap();
        let name = session.id().to_string();
        let mut step: Step = subject.probe(["cat"]).with_stdin(CANARY.as_bytes().to_vec());
        step.environment.insert("CANARY".to_owned(), CANARY.to_owned());
        let ran = run(&mut session, step).await;
        assert_eq!(ran.text(), CANARY);
        let pod = namespace.get(&namespace.path("/api/v1", &format!("pods/{name}"))).await.to_string();
        assert!(pod.contains(&name) && !pod.contains(CANARY), "{pod}");
        let events = namespace.get(&namespace.path("/api/v1", "events")).await.to_string();
        assert!(events.contains(&name) && !events.contains(CANARY), "{events}");
        let etcd = files_with(&namespace.cluster.join("etcd"), name.as_bytes());
        assert!(!etcd.is_empty(), "the pod is in etcd's files");
        assert_eq!(
            files_with(&namespace.cluster.join("etcd"), CANARY.as_bytes()),
            Vec::<std::path::PathBuf>::new()
        );
        session.discard().await.unwrap();
    });
}

fn files_with(folder: &std::path::Path, needle: &[u8]) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(files_with(&path, needle));
        } else if std::fs::read(&path).unwrap().windows(needle.len()).any(|window| window == needle) {
            found.push(path);
        }
    }
    found
}

#[test]
fn a_pod_belongs_to_its_workers_lease() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let backend = namespace.backend().await;
        let session = Session::open(backend.create(&small()).await.unwrap(), &[]).await.unwrap();
        let pod = namespace.get(&namespace.path("/api/v1", &format!("pods/{}", session.id()))).await;
        let owner = &pod["metadata"]["ownerReferences"][0];
        assert_eq!(owner["kind"], "Lease");
        let leases = namespace.path("/apis/coordination.k8s.io/v1", "leases");
        let lease = namespace.get(&format!("{leases}/{}", owner["name"].as_str().unwrap())).await;
        assert_eq!(lease["metadata"]["uid"], owner["uid"]);
        let renewed = lease["spec"]["renewTime"].clone();
        let path = format!("{leases}/{}", owner["name"].as_str().unwrap());
        namespace
            .until("the lease is renewed", async || {
                namespace.get(&path).await["spec"]["renewTime"] != renewed
            })
            .await;
        // The whole of a worker goes with its lease, though nobody removes its pods one by one.
        namespace.delete_at(&path).await;
        namespace.expect_no_pods().await;
        drop(session);
    });
}
