//! The daemon that the tests were given, and sandbox backends over it.

use std::future::Future;
use std::process::Command;
use std::sync::Arc;

use sandbox::docker::{DockerBackend, DockerOptions, Host, Pull};
use sandbox::suite::Subject;
use testkit::images;

/// Names the daemon, such as `unix:///run/docker.sock`.
const DAEMON: &str = "SAGEWAI_TEST_DOCKER";
/// Names a registry that the daemon reaches, `host:port`.
const REGISTRY: &str = "SAGEWAI_TEST_REGISTRY";

/// The daemon's address; says that the test is skipped where there is none.
pub(crate) fn daemon() -> Option<String> {
    variable(DAEMON)
}

/// The registry's address, likewise.
pub(crate) fn registry() -> Option<String> {
    variable(REGISTRY)
}

fn variable(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        eprintln!("skipped: {name} is not set; `cargo xtask test` starts what it names");
    }
    value
}

/// Settings for a worker of this name, with busybox where a template names no image.
pub(crate) fn options(host: &str, owner: &str) -> DockerOptions {
    DockerOptions {
        host: Host::parse(host, None).expect("an address"),
        image: images::BUSYBOX.to_owned(),
        pull: Pull::Never,
        registries: None,
        runtime: None,
        owner: owner.to_owned(),
    }
}

/// A sandbox backend of a worker that no other test is.
pub(crate) fn backend(host: &str) -> Arc<DockerBackend> {
    DockerBackend::new(options(host, &owner()))
}

/// A name that no other test uses.
pub(crate) fn owner() -> String {
    uuid::Uuid::now_v7().simple().to_string()
}

pub(crate) fn subject(host: &str, image: &str) -> Subject {
    Subject { at_once: 2, ..Subject::with_image(backend(host), image) }
}

/// What Docker's own client says.
pub(crate) fn docker(host: &str, arguments: &[&str]) -> String {
    let output = testkit::dockerd::client(host).args(arguments).output().expect("docker starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {said}");
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Ids of containers of the worker of this name, whatever their state.
pub(crate) fn containers(host: &str, owner: &str) -> Vec<String> {
    let filter = format!("label=sagewai.owner={owner}");
    let listed = docker(host, &["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter]);
    listed.lines().map(str::to_owned).collect()
}

/// Waits until something holds, 30 s at most.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let limit = std::time::Duration::from_secs(30);
    assert!(tokio::time::timeout(limit, waiting).await.is_ok(), "not after {limit:?}: {what}");
}

/// Whether a program is installed.
pub(crate) fn installed(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}
