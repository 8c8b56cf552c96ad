//! What the cluster says when it refuses, as sentences with a remedy.

use kube::Error;

use super::NAME;
use crate::SandboxError;

/// This sandbox backend cannot make sandboxes, and another try will not help.
pub(super) fn unavailable(reason: impl Into<String>, remedy: impl Into<String>) -> SandboxError {
    SandboxError::Unavailable { backend: NAME, reason: reason.into(), remedy: remedy.into() }
}

/// Why the API did not do `what`, such as `create a pod`.
pub(super) fn refused(what: &str, error: &Error) -> SandboxError {
    let Error::Api(status) = error else {
        return SandboxError::Lost {
            backend: NAME,
            reason: format!("the cluster's API could not be asked to {what}: {}", chain(error)),
        };
    };
    let said = status.message.trim();
    match status.code {
        401 => unavailable(
            format!("the cluster does not know the worker's credentials: {said}"),
            "renew the token or the kubeconfig",
        ),
        403 if said.contains("exceeded quota") => SandboxError::Create(format!(
            "the namespace's quota is used up: {said}; raise the ResourceQuota, or lower the step's `resources` or the \
             size of the warm pool"
        )),
        403 if said.contains("violates PodSecurity") || said.contains("PodSecurityPolicy") => unavailable(
            format!("the cluster's pod security refuses the pod: {said}"),
            "the pod satisfies the level `restricted`; a stricter rule of the cluster must let it pass",
        ),
        403 if said.contains("cannot ") => unavailable(
            format!("the worker may not {what}: {said}"),
            "bind the role of deploy/kubernetes/rbac.yaml to the worker's account in that namespace",
        ),
        404 if said.contains("namespaces ") => unavailable(said, "create the namespace, or name another"),
        // Admission: webhooks, limits of the namespace, unknown runtime classes and accounts, fields it does not know.
        400 | 403 | 404 | 422 => unavailable(
            format!("the cluster refuses to {what}: {said}"),
            "change the part `[kubernetes]` of the worker's configuration, or what admits pods in the namespace",
        ),
        _ => SandboxError::Create(format!("the cluster failed to {what}: {said}")),
    }
}

/// Whether the API says that there is no such object.
pub(super) fn is_absent(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 404)
}

/// Whether the API says that there is such an object already, or a newer state of it.
pub(super) fn is_conflict(error: &Error) -> bool {
    matches!(error, Error::Api(status) if status.code == 409)
}

fn chain(error: &Error) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use kube::core::Status;

    use super::*;

    fn told(code: u16, message: &str) -> String {
        let status = Status { code, message: message.to_owned(), ..Status::default() };
        refused("create a pod", &Error::Api(Box::new(status))).to_string()
    }

    #[test]
    fn each_refusal_has_its_remedy() {
        let quota = "pods \"x\" is forbidden: exceeded quota: small, requested: pods=1, used: pods=0, limited: pods=0";
        assert!(told(403, quota).contains("ResourceQuota"));
        let rights = "pods is forbidden: User \"x\" cannot create resource \"pods\" in API group \"\"";
        assert!(told(403, rights).contains("rbac.yaml"));
        assert!(
            told(403, "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\"")
                .contains("pod security")
        );
        assert!(told(404, "namespaces \"x\" not found").contains("create the namespace"));
        assert!(told(403, "admission webhook \"w\" denied the request: no").contains("admits pods"));
        assert!(told(401, "Unauthorized").contains("renew"));
        assert!(told(500, "etcdserver: leader changed").contains("failed to create a pod"));
    }
}
