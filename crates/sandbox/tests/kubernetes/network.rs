//! A pod whose network is open starts no step, whatever the policy says.

use protocol::frame::{FailureKind, Layer};
use sandbox::conformance::{Step, run};
use sandbox::kubernetes::{KubernetesBackend, KubernetesConfig, NetworkCheck};
use sandbox::{Backend, SandboxError, Session, Template};
use serde_json::json;

use super::harness::{Closed, Namespace, small, with_namespace};

async fn open(backend: &KubernetesBackend) -> Result<Session, SandboxError> {
    Session::open(backend.create(&small()).await?, &[]).await
}

#[test]
fn an_open_pod_refuses_the_step_with_the_remedy() {
    with_namespace(Closed::Open, async |namespace| {
        let backend = namespace.backend().await;
        match open(&backend).await {
            Err(SandboxError::Refused { kind: FailureKind::Isolation, message }) => {
                assert!(
                    message.contains("answers from inside") && message.contains("NetworkPolicy"),
                    "{message}"
                );
            }
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("a step could start in an open network"),
        }
        namespace.expect_no_pods().await;
    });
}

#[test]
fn an_operator_can_take_the_network_as_it_is() {
    with_namespace(Closed::Open, async |namespace| {
        let config = KubernetesConfig { network: NetworkCheck::AssumeClosed, ..namespace.config().await };
        let backend = KubernetesBackend::new(config);
        let session = open(&backend).await.unwrap();
        let reports = session.layers();
        let closed = reports.iter().find(|report| report.layer == Layer::ClosedNetwork).unwrap();
        assert!(!closed.enforced, "nobody checked it: {closed:?}");
        session.discard().await.unwrap();
    });
}

#[test]
fn a_filtered_interface_is_a_closed_network() {
    with_namespace(Closed::Filtered, async |namespace| {
        let backend = namespace.backend().await;
        let mut session = open(&backend).await.unwrap();
        let enforced = |layer| session.layers().iter().any(|report| report.layer == layer && report.enforced);
        assert!(enforced(Layer::ClosedNetwork), "{:?}", session.layers());
        assert!(!enforced(Layer::NetworkNamespace), "there is an interface, and that is said");
        let ran = run(&mut session, Step::new(["/sagewai-guest", "--no-such-option"])).await;
        assert_eq!(ran.code(), Some(64), "{ran:?}");
        session.discard().await.unwrap();
    });
}

#[test]
fn the_policy_is_made_and_whoever_opens_it_is_told() {
    with_namespace(Closed::NoInterface, async |namespace| {
        namespace.backend().await.check().await.unwrap();
        let policies = namespace.path("/apis/networking.k8s.io/v1", "networkpolicies");
        let made = namespace.get(&format!("{policies}/sagewai-sandboxes-closed")).await;
        assert_eq!(made["spec"]["policyTypes"], json!(["Ingress", "Egress"]));
        assert!(made["spec"]["egress"].is_null() && made["spec"]["ingress"].is_null());

        let other = json!({"metadata": {"name": "dns-for-all"}, "spec": {"podSelector": {}, "egress": [{}], "policyTypes": ["Egress"]}});
        namespace.post(&policies, &other).await;
        let refused = namespace.backend().await.check().await.unwrap_err().to_string();
        assert!(
            refused.contains("`dns-for-all`") && refused.contains("sagewai.dev/part=sandbox"),
            "{refused}"
        );
        namespace.delete_at(&format!("{policies}/dns-for-all")).await;

        let patch = json!({"spec": {"egress": [{}]}});
        let path = format!("{policies}/sagewai-sandboxes-closed");
        namespace
            .send("PATCH", &path, "application/merge-patch+json", patch.to_string().into_bytes())
            .await
            .unwrap();
        let refused = namespace.backend().await.check().await.unwrap_err().to_string();
        assert!(refused.contains("does not deny all"), "{refused}");
    });
}

#[test]
fn without_rights_the_remedy_names_the_manifest() {
    with_namespace(Closed::NoInterface, async |namespace| {
        remove_rights(namespace).await;
        let refused = namespace.backend().await.create(&Template::default()).await.err().unwrap().to_string();
        assert!(refused.contains("rbac.yaml"), "{refused}");
    });
}

async fn remove_rights(namespace: &Namespace) {
    let binding = namespace.path("/apis/rbac.authorization.k8s.io/v1", "rolebindings/sagewai-worker");
    namespace.delete_at(&binding).await;
}
