//! The network policy that closes the pods' network, and the look at whether others open it again: policies add up.

use std::collections::BTreeMap;

use k8s_openapi::api::networking::v1::{NetworkPolicy, NetworkPolicySpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::Api;
use kube::api::{ListParams, PostParams};
use serde_json::json;

use super::reason::{is_absent, is_conflict, refused, unavailable};
use super::{PART_LABEL, PART_SANDBOX};
use crate::SandboxError;

/// Name of the policy.
const POLICY: &str = "sagewai-sandboxes-closed";

/// Sees to it that a policy denies everything to pods with `labels`, and that no other allows anything.
pub(super) async fn close(
    policies: &Api<NetworkPolicy>,
    labels: &BTreeMap<String, String>,
) -> Result<(), SandboxError> {
    match policies.get(POLICY).await {
        Err(error) if is_absent(&error) => match policies.create(&PostParams::default(), &closed()).await {
            Err(error) if !is_conflict(&error) => return Err(refused("create a network policy", &error)),
            _ => {}
        },
        Err(error) => return Err(refused("read a network policy", &error)),
        Ok(found) if found.spec == closed().spec => {}
        Ok(_) => {
            return Err(unavailable(
                format!("the network policy `{POLICY}` does not deny all to sandboxes any more"),
                "delete it: the worker makes it anew",
            ));
        }
    }
    let all = policies.list(&ListParams::default()).await;
    let all = all.map_err(|error| refused("list network policies", &error))?;
    match all.items.iter().find(|policy| policy.spec.as_ref().is_some_and(|spec| opens(spec, labels))) {
        None => Ok(()),
        Some(policy) => Err(unavailable(
            format!(
                "the network policy `{}` allows traffic of sandboxes, and policies add up",
                policy.metadata.name.as_deref().unwrap_or_default()
            ),
            format!(
                "let it leave out pods with the label {PART_LABEL}={PART_SANDBOX}, or give sandboxes a namespace of their own"
            ),
        )),
    }
}

fn closed() -> NetworkPolicy {
    let manifest = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": POLICY, "labels": {PART_LABEL: "network"}},
        "spec": {
            "podSelector": {"matchLabels": {PART_LABEL: PART_SANDBOX}},
            "policyTypes": ["Ingress", "Egress"],
        },
    });
    serde_json::from_value(manifest).expect("a manifest of ours is a network policy")
}

/// Whether the policy is for pods with `labels` and allows something.
fn opens(policy: &NetworkPolicySpec, labels: &BTreeMap<String, String>) -> bool {
    let allows =
        policy.ingress.iter().flatten().next().is_some() || policy.egress.iter().flatten().next().is_some();
    allows && policy.pod_selector.as_ref().is_none_or(|selector| selects(selector, labels))
}

/// As Kubernetes matches labels; what is not understood is taken as a match.
fn selects(selector: &LabelSelector, labels: &BTreeMap<String, String>) -> bool {
    let equal = selector.match_labels.iter().flatten().all(|(name, value)| labels.get(name) == Some(value));
    let expressions = selector.match_expressions.iter().flatten();
    equal
        && expressions.into_iter().all(|wanted| {
            let found = labels.get(&wanted.key);
            let listed = || found.is_some_and(|value| wanted.values.iter().flatten().any(|one| one == value));
            match wanted.operator.as_str() {
                "In" => listed(),
                "NotIn" => !listed(),
                "Exists" => found.is_some(),
                "DoesNotExist" => found.is_none(),
                _ => true,
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(selector: serde_json::Value, egress: serde_json::Value) -> NetworkPolicySpec {
        serde_json::from_value(json!({"podSelector": selector, "egress": egress, "policyTypes": ["Egress"]}))
            .expect("a policy")
    }

    #[test]
    fn only_policies_for_sandboxes_that_allow_something_open() {
        let labels = [(PART_LABEL, PART_SANDBOX), ("team", "a")];
        let labels: BTreeMap<String, String> = labels.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        let opens = |selector, egress| opens(&policy(selector, egress), &labels);
        let all = json!([{}]);
        assert!(opens(json!({}), all.clone()), "an empty selector is everyone");
        assert!(!opens(json!({}), json!([])), "no rule allows nothing");
        assert!(opens(json!({"matchLabels": {"team": "a"}}), all.clone()));
        assert!(!opens(json!({"matchLabels": {"team": "b"}}), all.clone()));
        let expression = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "team", "operator": operator, "values": values}]});
        for (operator, values, expected) in [
            ("In", &["a", "b"][..], true),
            ("In", &["b"], false),
            ("NotIn", &["a"], false),
            ("NotIn", &["b"], true),
            ("Exists", &[], true),
            ("DoesNotExist", &[], false),
        ] {
            assert_eq!(opens(expression(operator, values), all.clone()), expected, "{operator} {values:?}");
        }
    }
}
