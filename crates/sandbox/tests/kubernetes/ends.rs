//! However a worker or a node ends, nothing is left after the sweep.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sandbox::conformance::run;
use sandbox::kubernetes::{KubernetesBackend, KubernetesConfig};
use sandbox::suite::Subject;
use sandbox::{Backend, SandboxError, Session};

use super::harness::{Closed, small, with_namespace};

/// Says to a copy of this program that it is the worker that will be killed, and with which kubeconfig, namespace, image.
const VICTIM: [&str; 3] =
    ["SAGEWAI_TEST_VICTIM_KUBECONFIG", "SAGEWAI_TEST_VICTIM_NAMESPACE", "SAGEWAI_TEST_VICTIM_IMAGE"];

fn victim_config() -> Option<KubernetesConfig> {
    let [file, namespace, image] = VICTIM.map(|name| std::env::var(name).ok());
    let image = image?;
    Some(KubernetesConfig {
        kubeconfig: Some(PathBuf::from(file?)),
        namespace,
        image: Some(image.clone()),
        guest_image: image,
        lease_seconds: 5,
        ..KubernetesConfig::default()
    })
}

/// The worker of the next test: starts a step that never ends, says so, and waits to be killed.
#[test]
fn victim() {
    let Some(config) = victim_config() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let backend = KubernetesBackend::new(config);
        let subject = Subject { template: small(), ..Subject::new(backend.clone()) };
        let _waiting = Session::open(backend.create(&small()).await.unwrap(), &[]).await.unwrap();
        let mut session = subject.open().await.unwrap();
        let step = subject.probe(["sleep", "1000"]).within(Duration::from_secs(600));
        println!("victim runs");
        run(&mut session, step).await;
    });
}

#[test]
fn what_a_killed_worker_left_is_swept_by_the_next() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let config = namespace.config().await;
        let values = [
            config.kubeconfig.clone().unwrap().display().to_string(),
            namespace.name.clone(),
            namespace.image.clone(),
        ];
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "ends::victim", "--nocapture"])
            .envs(VICTIM.iter().zip(&values))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(victim.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("victim runs")), "the victim ended");
        assert_eq!(namespace.pod_names().await.len(), 2, "one waits, one runs a step");
        victim.kill().unwrap();
        victim.wait().unwrap();
        let leases = namespace.path("/apis/coordination.k8s.io/v1", "leases");
        let backend = KubernetesBackend::new(config);
        backend.check().await.unwrap();
        namespace.expect_no_pods().await;
        namespace
            .until("its lease is gone and the new worker's is there", async || {
                namespace.get(&leases).await["items"].as_array().unwrap().len() == 1
            })
            .await;
        backend.close().await.unwrap();
        assert!(
            namespace.get(&leases).await["items"].as_array().unwrap().is_empty(),
            "an orderly end leaves no lease"
        );
    });
}

#[test]
fn a_dropped_sandbox_is_removed_and_a_cancelled_creation_too() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let backend = namespace.backend().await;
        drop(backend.create(&small()).await.unwrap());
        namespace.expect_no_pods().await;
        let template = small();
        let creating = backend.create(&template);
        assert!(
            tokio::time::timeout(Duration::from_millis(400), creating).await.is_err(),
            "no pod is as fast"
        );
        namespace.expect_no_pods().await;
    });
}

#[test]
fn a_pod_that_someone_deletes_ends_its_step_with_the_reason() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let subject = Subject { template: small(), ..Subject::new(namespace.backend().await) };
        let mut session = subject.open().await.unwrap();
        let path = namespace.path("/api/v1", &format!("pods/{}", session.id()));
        let deleting = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            namespace.delete_at(&path).await;
        };
        let step = subject.probe(["sleep", "600"]).within(Duration::from_secs(60));
        let began = Instant::now();
        let (ran, ()) = tokio::join!(run(&mut session, step), deleting);
        assert!(matches!(&ran.exit, Err(SandboxError::Ended(Some(_)))), "{:?}", ran.exit);
        assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
        session.discard().await.unwrap();
    });
}

/// The kubelet of the tests' node; whoever started it starts it again.
fn kubelet(cluster: &std::path::Path) -> Option<u32> {
    let config = format!("--config={}", cluster.join("kubelet.yaml").display());
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes.into_iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        words[0].ends_with(b"/kubelet") && words.contains(&config.as_bytes())
    })
}

#[test]
fn a_killed_kubelet_costs_the_step_and_nothing_is_left_when_it_is_back() {
    with_namespace(Closed::NoInterface, async |namespace| {
        let subject = Subject { template: small(), ..Subject::new(namespace.backend().await) };
        let mut session = subject.open().await.unwrap();
        let before = kubelet(&namespace.cluster).unwrap();
        let killing = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert!(Command::new("kill").args(["-9", &before.to_string()]).status().unwrap().success());
        };
        let step = subject.probe(["sleep", "600"]).within(Duration::from_secs(90));
        let (ran, ()) = tokio::join!(run(&mut session, step), killing);
        assert!(matches!(&ran.exit, Err(SandboxError::Ended(_))), "{:?}", ran.exit);
        namespace
            .until("it is started again", async || {
                kubelet(&namespace.cluster).is_some_and(|pid| pid != before)
            })
            .await;
        session.discard().await.unwrap();
        namespace.expect_no_pods().await;
        // And it takes pods again.
        subject.open().await.unwrap().discard().await.unwrap();
    });
}
