//! Why a sandbox did not come about, or ended, in words that a user understands.

use std::time::Duration;

use sandbox::conformance::run;
use sandbox::kubernetes::{KubernetesBackend, KubernetesConfig};
use sandbox::suite::Subject;
use sandbox::{Backend, SandboxError, SandboxLimits, Template};
use serde_json::json;

use super::harness::{Closed, small, with_namespace};

/// Creates a sandbox that cannot be; what is said.
async fn refusal(config: KubernetesConfig, template: Template) -> String {
    let error = KubernetesBackend::new(config).create(&template).await.err().expect("it cannot be");
    error.to_string()
}

#[test]
fn an_image_that_is_not_there() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let config = KubernetesConfig { image_pull_policy: None, ..namespace.config().await };
        let nowhere = Template { image: Some("127.0.0.1:1/acme/absent:1".to_owned()), ..small() };
        let said = refusal(config.clone(), nowhere).await;
        assert!(said.contains("`127.0.0.1:1/acme/absent:1` cannot be pulled"), "{said}");
        assert!(said.contains("pull-secrets") && said.contains("connection refused"), "{said}");
        let malformed = Template { image: Some("Not An Image".to_owned()), ..small() };
        let said = refusal(config, malformed).await;
        assert!(said.contains("InvalidImageName"), "{said}");
        namespace.expect_no_pods().await;
    });
}

#[test]
fn no_node_takes_it() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let config = KubernetesConfig { schedule_seconds: 3, ..namespace.config().await };
        let limits = SandboxLimits { cpu_millis: 1_000_000, ..small().limits };
        let said = refusal(config.clone(), Template { limits, ..small() }).await;
        assert!(said.contains("no node takes the pod") && said.contains("Insufficient cpu"), "{said}");
        let node_selector = [("no".to_owned(), "where".to_owned())].into();
        let said = refusal(KubernetesConfig { node_selector, ..config }, small()).await;
        assert!(said.contains("node-selector"), "{said}");
        namespace.expect_no_pods().await;
    });
}

#[test]
fn the_quota_is_used_up() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let quota = json!({"metadata": {"name": "small"}, "spec": {"hard": {"pods": "0"}}});
        namespace.post(&namespace.path("/api/v1", "resourcequotas"), &quota).await;
        let path = namespace.path("/api/v1", "resourcequotas/small");
        namespace
            .until("the quota is in force", async || !namespace.get(&path).await["status"]["hard"].is_null())
            .await;
        let said = refusal(namespace.config().await, small()).await;
        assert!(said.contains("quota") && said.contains("ResourceQuota"), "{said}");
    });
}

#[test]
fn the_cluster_does_not_admit_it() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let config = KubernetesConfig { run_as_user: Some(0), ..namespace.config().await };
        let said = refusal(config, small()).await;
        assert!(said.contains("refuses"), "{said}");
        let config =
            KubernetesConfig { service_account: Some("nobody".to_owned()), ..namespace.config().await };
        let said = refusal(config, small()).await;
        assert!(said.contains("nobody"), "{said}");
        let config =
            KubernetesConfig { runtime_class: Some("absent".to_owned()), ..namespace.config().await };
        let said = refusal(config, small()).await;
        assert!(said.contains("absent"), "{said}");
        let config = KubernetesConfig { image: None, ..namespace.config().await };
        let said = refusal(config, small()).await;
        assert!(said.contains("names no image"), "{said}");
    });
}

#[test]
fn the_cluster_ends_a_pod_that_is_too_old() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let config = KubernetesConfig { pod_seconds: 12, ..namespace.config().await };
        let subject = Subject { template: small(), ..Subject::new(KubernetesBackend::new(config)) };
        let mut session = subject.open().await.unwrap();
        let ran = run(&mut session, subject.probe(["sleep", "600"]).within(Duration::from_secs(60))).await;
        match ran.exit {
            Err(SandboxError::Ended(Some(why))) => assert!(why.contains("pod-seconds"), "{why}"),
            other => panic!("{other:?}"),
        }
        session.discard().await.unwrap();
    });
}
