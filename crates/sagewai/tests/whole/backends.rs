//! Several sandbox backends: the demo on Docker, and one run whose steps use two at once. Needs the daemon that
//! `cargo xtask test` starts.

use std::process::Command;

use serde_json::Value;

use crate::sagewai::{Process, program, wait_for};

const DAEMON: &str = "SAGEWAI_TEST_DOCKER";
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
      run: { shell: { command: 'cat /etc/hostname' } }
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
fn settings(host: &str) -> [(&'static str, String); 3] {
    [
        ("SAGEWAI_DOCKER_HOST", host.to_owned()),
        ("SAGEWAI_DOCKER_IMAGE", PYTHON.to_owned()),
        ("SAGEWAI_DOCKER_PULL", "never".to_owned()),
    ]
}

#[test]
fn the_demo_runs_on_docker() {
    let Some(host) = daemon() else { return };
    let output =
        Command::new(program()).args(["demo", "--sandbox", "docker"]).envs(settings(&host)).output().unwrap();
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
    let dev = Process::start_with(&arguments, &settings(&host), &folder.path().join("log"));
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
    assert!(said.contains("plain") && said.contains("hello") && said.contains("sandbox"), "{said}\n{noise}");
    let events: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(!events.is_empty(), "{said}");
    // Kept in one place: the image in the document is the one that testkit makes.
    assert!(MIXED.contains(DISTROLESS));
}
