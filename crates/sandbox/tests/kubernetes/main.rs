//! The Kubernetes sandbox backend on a real cluster, under exactly the rights of deploy/kubernetes/rbac.yaml.
//!
//! `SAGEWAI_TEST_KUBECONFIG` names an administrator's kubeconfig of a cluster that the crate testkit started; without it the
//! tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod ends;
mod harness;
mod network;
mod pods;
mod reasons;
mod suites;
