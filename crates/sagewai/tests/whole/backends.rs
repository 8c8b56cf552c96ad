//! Several sandbox backends: the demo on Docker, and one run whose steps use two at once. Needs the daemon that
//! `cargo xtask test` starts.

use std::process::Command;

use serde_json::Value;

use crate::fleet::Fleet;
use crate::invariants::{HOLDER, canary, nowhere_else};
use crate::processes::{below, parent};
use crate::sagewai::{Process, program, wait_for};
use crate::scan::{contains, memory};

const DAEMON: &str = "SAGEWAI_TEST_DOCKER";
const BUSYBOX: &str = "sagewai-test/busybox:1";
const PYTHON: &str = "sagewai-test/python:1";
const DISTROLESS: &str = "sagewai-test/distroless:1";

/// One run: a step wherever it can be, one in a container of an image without a shell, one by name.
const MIXED: &str = r#"
document: { dsl: '1.0.3', namespace: demo, name: mixed, version: '1.0.0' }
do:
  - plain:
      run: { shell: { command: 'echo plain' } }
      metadata: { execution: { backend: namespace } }
      export: { as: '${ { plain: . } }' }
  - image:
      run: { container: { image: 'sagewai-test/distroless:1' } }
      metadata: { execution: { backend: docker } }
      export: { as: '${ $context + { image: . } }' }
  - named:
      run: { shell: { command: 'hostname' } }
      metadata: { execution: { backend: docker } }
      output: { as: '${ $context + { named: . } }' }
"#;

fn daemon() -> Option<String> {
    let host = std::env::var(DAEMON).ok().filter(|host| !host.is_empty());
    if host.is_none() {
        eprintln!("skipped: {DAEMON} is not set; `cargo xtask test` starts a Docker daemon");
    }
    host
}

/// Settings of the Docker sandbox backend, for a process and its children.
fn settings(host: &str, image: &str) -> [(&'static str, String); 3] {
    [
        ("SAGEWAI_DOCKER_HOST", host.to_owned()),
        ("SAGEWAI_DOCKER_IMAGE", image.to_owned()),
        ("SAGEWAI_DOCKER_PULL", "never".to_owned()),
    ]
}

#[test]
fn the_demo_runs_on_docker() {
    let Some(host) = daemon() else { return };
    let output = Command::new(program())
        .args(["demo", "--sandbox", "docker"])
        .envs(settings(&host, PYTHON))
        .output()
        .unwrap();
    let (said, noise) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{said}\n{noise}", output.status);
    for proof in ["my token is [REDACTED:1]", "Signed off by the reporting desk", "it is nowhere"] {
        assert!(said.contains(proof), "no {proof:?} in\n{said}");
    }
}

#[test]
fn one_run_uses_several_sandbox_backends() {
    let Some(host) = daemon() else { return };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let document = folder.path().join("mixed.yaml");
    std::fs::write(&document, MIXED).unwrap();
    let data = data.to_str().unwrap();
    let arguments = [
        "dev",
        "--data",
        data,
        "--listen",
        "127.0.0.1:0",
        "--broker-listen",
        "127.0.0.1:0",
        "--sandbox",
        "namespace,docker",
        "--output",
        "json",
    ];
    let dev = Process::start_with(&arguments, &settings(&host, PYTHON), &folder.path().join("log"));
    let call = |arguments: &[&str]| {
        let output = Command::new(program())
            .args(arguments)
            .args([
                "--server",
                &dev.text("server"),
                "--token-file",
                &dev.text("token_file"),
                "--output",
                "json",
            ])
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.success(), text, String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let offered = wait_for("the worker's two sandbox backends", || {
        let (_, said, _) = call(&["workers", "list"]);
        said.contains("docker").then_some(said)
    });
    assert!(offered.contains("namespace"), "{offered}");
    let (done, said, noise) = call(&["run", document.to_str().unwrap(), "--follow"]);
    assert!(done, "{said}\n{noise}");
    let events: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let run = &events.iter().rfind(|event| event["event"] == "snapshot").expect("a last look")["run"];
    assert_eq!(run["output"]["plain"], "plain", "{run:#}");
    assert_eq!(run["output"]["image"], "hello", "{run:#}");
    let sandboxes: Vec<&str> = run["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| step["sandbox"].as_str().unwrap().split('/').next().unwrap())
        .collect();
    assert_eq!(sandboxes, ["namespace", "docker", "docker"], "{run:#}");
    // Kept in one place: the image in the document is the one that testkit makes.
    assert!(MIXED.contains(DISTROLESS));
}

#[test]
fn on_docker_too_a_secret_is_in_the_step_and_in_the_broker_and_nowhere_else() {
    let Some(host) = daemon() else { return };
    let settings = settings(&host, BUSYBOX);
    let environment: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let fleet = Fleet::start_with(&["--sandbox", "docker", "--warm", "0"], &environment);
    let (name, value) = canary();
    fleet.cli.keep_secret("vault-a", &name, value.as_bytes());
    let run = fleet.cli.submit("holder", HOLDER);
    wait_for("the step's output", || fleet.cli.logs(&run).contains("[REDACTED:1]").then_some(()));

    // The container of this fleet's step is the one in which the scan finds the value.
    let containers = docker(&host, &["ps", "--quiet", "--no-trunc"]);
    let first_process = |id: &str| docker(&host, &["inspect", "--format", "{{.State.Pid}}", id]);
    let holding = containers.lines().find_map(|id| {
        let guest: u32 = first_process(id).trim().parse().ok()?;
        let holds = |pid: &u32| !memory(*pid, value.as_bytes()).found.is_empty();
        below(guest).iter().any(holds).then(|| (id.to_owned(), guest))
    });
    let (container, guest) =
        holding.expect("the scan finds the value where it is: in the step's own processes");

    let shim = parent(guest).expect("the runtime's process that watches the container");
    nowhere_else(&fleet, &[fleet.server.pid(), fleet.worker.pid(), shim], &name, &value);
    let inspected = docker(&host, &["inspect", &container]);
    assert!(inspected.contains(&container), "{inspected}");
    for secret in [&name, &value] {
        assert!(!contains(inspected.as_bytes(), secret.as_bytes()), "{secret} is in docker inspect");
        let changed = docker(&host, &["diff", &container]);
        assert!(!contains(changed.as_bytes(), secret.as_bytes()), "{secret} is in the container's layer");
    }
    fleet.cli.ok(&["runs", "cancel", &run]);
    fleet.cli.ended(&run);
    wait_for("the container to be removed", || {
        (!docker(&host, &["ps", "--all", "--quiet", "--no-trunc"]).contains(&container)).then_some(())
    });
}

fn docker(host: &str, arguments: &[&str]) -> String {
    let output = Command::new("docker").args(["--host", host]).args(arguments).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// The user of steps in containers, who may be a person on this machine too.
const STEP_USER: u32 = 1000;

#[test]
fn on_docker_processes_outside_do_not_count_against_a_steps_limit() {
    use std::os::unix::process::CommandExt;
    let Some(host) = daemon() else { return };
    let mut outside: Vec<_> =
        (0..30).map(|_| Command::new("sleep").arg("120").uid(STEP_USER).spawn().unwrap()).collect();
    let settings = settings(&host, BUSYBOX);
    let environment: Vec<(&str, &str)> =
        settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let fleet = Fleet::start_with(&["--sandbox", "docker", "--warm", "0"], &environment);
    let few = "- few: { run: { shell: { command: 'echo ran' } }, metadata: { execution: { resources: { processes: 20 } } } }";
    let run = fleet.cli.submit("few", few);
    let ended = fleet.cli.ended(&run);
    for process in &mut outside {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(ended["output"], "ran", "{ended:#}");
}
