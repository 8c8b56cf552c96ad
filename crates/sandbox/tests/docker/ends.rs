//! How sandboxes end, and what is left of them.

use std::time::Duration;

use sandbox::conformance::run;
use sandbox::docker::DockerBackend;
use sandbox::suite::Subject;
use sandbox::{Backend, SandboxLimits, Template};
use testkit::images;

use super::harness::{backend, containers, daemon, docker, eventually, options, owner};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_killed_worker_left_is_removed_and_nothing_else() {
    let Some(host) = daemon() else { return };
    let (owner, other) = (owner(), owner());
    // Containers that neither run nor know of their worker's end, as one killed between two requests leaves them.
    let leave = |owner: &str, boot: &str| {
        let labels = [format!("sagewai.owner={owner}"), format!("sagewai.boot={boot}")];
        docker(
            &host,
            &[
                "create",
                "--network",
                "none",
                "--label",
                "sagewai.kind=sandbox",
                "--label",
                &labels[0],
                "--label",
                &labels[1],
                images::BUSYBOX,
                "sleep",
                "3600",
            ],
        )
    };
    let orphan = leave(&owner, "before");
    docker(&host, &["start", &orphan]);
    leave(&owner, "before");
    let foreign = leave(&other, "now");

    let backend = DockerBackend::new(options(&host, &owner));
    let living = backend.create(&Template::default()).await.expect("a sandbox");
    backend.check().await.expect("the daemon answers");
    let left = containers(&host, &owner);
    assert_eq!(left.len(), 1, "{left:?}");
    assert!(left[0].starts_with(living.id().as_str()), "its own sandbox stays");
    assert_eq!(containers(&host, &other), std::slice::from_ref(&foreign), "another worker's stays");
    living.discard().await.expect("discarded");
    assert!(containers(&host, &owner).is_empty());
    docker(&host, &["rm", "--force", &foreign]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_ends_when_its_worker_is_gone() {
    let Some(host) = daemon() else { return };
    let owner = owner();
    let mut sandbox =
        DockerBackend::new(options(&host, &owner)).create(&Template::default()).await.expect("a sandbox");
    let channel = sandbox.take_channel();
    assert_eq!(containers(&host, &owner).len(), 1);
    // Its connection ends, and nobody asks for its removal: as when the worker is killed.
    std::mem::forget(sandbox);
    drop(channel);
    eventually("the container is gone", async || containers(&host, &owner).is_empty()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_runs_out_of_memory_is_told_so() {
    let Some(host) = daemon() else { return };
    let backend = backend(&host);
    let limits = SandboxLimits { memory_bytes: 32 << 20, ..SandboxLimits::default() };
    let mut sandbox = backend.create(&Template { limits, ..Template::default() }).await.expect("a sandbox");
    assert_eq!(sandbox.cause_of_death().await, None, "it lives");
    let docker_id = sandbox.id().as_str().to_owned();
    // Not through the channel: the container as a whole is what runs out.
    docker_exec_fill(&host, &docker_id);
    let why = sandbox.cause_of_death().await.expect("a reason");
    assert!(why.contains("32 MiB") && why.contains("resources"), "{why}");
    sandbox.discard().await.expect("discarded");
}

fn docker_exec_fill(host: &str, container: &str) {
    let fill = ["exec", container, "sh", "-c", "tail /dev/zero"];
    let ended = testkit::dockerd::client(host).args(fill).output().expect("docker starts");
    assert!(!ended.status.success(), "it ran out of memory");
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_of_a_step_is_seen_at_the_daemon() {
    let Some(host) = daemon() else { return };
    const CANARY: &str = "canary-7b1f1f0c2a";
    let backend = backend(&host);
    let subject = Subject::with_image(backend.clone(), images::BUSYBOX);
    let mut session = subject.open().await.expect("a sandbox");
    let mut step = subject.step(["sh", "-c", "echo $SECRET; cat; echo done > /workspace/f; sleep 1"]);
    step.environment.insert("SECRET".to_owned(), CANARY.to_owned());
    let step = step.with_stdin(CANARY).within(Duration::from_secs(20));
    let container = session.id().as_str().to_owned();
    let seen = async {
        eventually("the step runs", async || docker(&host, &["top", &container]).contains("sleep 1")).await;
        let mut seen = docker(&host, &["inspect", &container]);
        seen.push_str(&docker(&host, &["diff", &container]));
        seen
    };
    let (ran, seen) = tokio::join!(run(&mut session, step), seen);
    assert!(ran.text().contains(CANARY), "{ran:?}");
    assert!(seen.contains(&container) && !seen.contains(CANARY), "{seen}");
    session.discard().await.expect("discarded");
}
