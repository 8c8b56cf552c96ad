//! The three invariants, on the running whole.

use std::io::{Read, Write};
use std::net::TcpStream;

use serde_json::Value;

use crate::fleet::{Dev, Fleet};
use crate::processes::{below, children};
use crate::sagewai::{Process, document, wait_for};
use crate::scan::{contains, files, memory};

/// A secret value and a key's name that occur nowhere by accident. They are put together at run time, so that this
/// program's own image does not hold them.
pub(crate) fn canary() -> (String, String) {
    (["CANARY", "KEY", "Q7X2"].join("_"), ["canary", "5f0e8d61", "value", "b94a"].join("-"))
}

/// Prints its environment in several forms, then waits for a file to appear in its sandbox, which never does.
pub(crate) const HOLDER: &str = r#"
- hold:
    run: { shell: { command: 'env; env | base64 -w0; echo; env >&2; touch held; sleep 600' } }
    metadata: { execution: { mode: identity, identity: vault-a } }
"#;

#[test]
fn a_secret_is_in_the_step_and_in_the_broker_and_nowhere_else() {
    let fleet = Fleet::start();
    let (name, value) = canary();
    fleet.cli.keep_secret("vault-a", &name, value.as_bytes());
    let run = fleet.cli.submit("holder", HOLDER);
    wait_for("the step's output", || fleet.cli.logs(&run).contains("[REDACTED:1]").then_some(()));

    let worker = fleet.worker.pid();
    let spawners = children(worker);
    let sandboxed: Vec<u32> = spawners.iter().flat_map(|pid| below(*pid)).collect();
    let in_step = sandboxed.iter().filter(|pid| !memory(**pid, value.as_bytes()).found.is_empty()).count();
    assert!(in_step > 0, "the scan finds the value where it is: in the step's own processes");

    let mut outside = vec![fleet.server.pid(), worker];
    outside.extend(&spawners);
    nowhere_else(&fleet, &outside, &name, &value);
    fleet.cli.ok(&["runs", "cancel", &run]);
    fleet.cli.ended(&run);
}

/// The value is neither in these processes nor in a file or on the wire, and the key's name not at the server.
pub(crate) fn nowhere_else(fleet: &Fleet, outside: &[u32], name: &str, value: &str) {
    for pid in outside {
        let scan = memory(*pid, value.as_bytes());
        assert!(scan.bytes > 1 << 20, "only {} bytes of {pid} could be read", scan.bytes);
        assert_eq!(scan.found, [""; 0], "the value is in process {pid}");
    }
    assert_eq!(memory(fleet.server.pid(), name.as_bytes()).found, [""; 0], "the key's name is in the server");

    // The broker keeps the value encrypted, so no file at all may hold it; the name may be at broker and worker.
    assert_eq!(files(fleet.path(), value.as_bytes()).found, [""; 0]);
    for part in ["server", "server.log"] {
        assert_eq!(
            files(&fleet.path().join(part), name.as_bytes()).found,
            [""; 0],
            "the key's name is in {part}"
        );
    }
    let wire = fleet.wire.bytes();
    assert!(wire.len() > 1000, "the tap sees what the worker sends");
    assert!(!contains(&wire, value.as_bytes()), "the value went over the wire");
}

#[test]
fn the_scan_finds_a_value_that_a_document_states_openly() {
    let fleet = Fleet::start();
    let (_, value) = canary();
    let open = format!(
        "- hold:\n    run: {{ shell: {{ command: 'echo $OPEN; sleep 600', environment: {{ OPEN: {value} }} }} }}"
    );
    let run = fleet.cli.submit("open", &open);
    wait_for("the step's output", || fleet.cli.logs(&run).contains(&value).then_some(()));
    for pid in [fleet.server.pid(), fleet.worker.pid()] {
        assert!(
            !memory(pid, value.as_bytes()).found.is_empty(),
            "a value that passes through {pid} is found there"
        );
    }
    assert!(!files(&fleet.path().join("server"), value.as_bytes()).found.is_empty());
    assert!(contains(&fleet.wire.bytes(), value.as_bytes()));
    fleet.cli.ok(&["runs", "cancel", &run]);
}

#[test]
fn one_run_mixes_modes() {
    let dev = Dev::start(&["--allow-bare"]);
    dev.cli.keep_secret("vault-b", "SOME_TOKEN", b"a value of some length");
    let run = dev.cli.run(
        "mixed",
        r#"
- zero: { call: noop, with: { a: 1 } }
- bare: { run: { shell: { command: 'id -u' } }, metadata: { execution: { mode: bare } } }
- boxed: { run: { shell: { command: 'hostname; ls /root 2>&1 | head -1' } } }
- known: { run: { shell: { command: 'test -n "$SOME_TOKEN" && echo has it' } }, metadata: { execution: { mode: 2, identity: vault-b } } }
"#,
    );
    assert_eq!(run["summary"]["state"], "completed", "{run:#}");
    let modes: Vec<&str> =
        run["steps"].as_array().unwrap().iter().filter_map(|step| step["mode"].as_str()).collect();
    assert_eq!(modes, ["bare", "bare", "sandboxed", "identity"]);
    assert_eq!(run["output"], "has it");
}

/// Runs that are accepted while no worker is there.
const RUNS: usize = 10_000;
/// Connections that submit them.
const CLIENTS: usize = 16;

#[test]
fn with_no_worker_runs_are_accepted_and_planned_and_none_starts() {
    let folder = tempfile::tempdir().unwrap();
    let token = "swt_nobody-works-here";
    use sha2::Digest;
    let hash: String =
        sha2::Sha256::digest(token.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect();
    let data = folder.path().join("server").display().to_string();
    let server = Process::start(
        &[
            "server",
            "--data",
            &data,
            "--admin-token-sha256",
            &hash,
            "--ready-line",
            "--listen",
            "127.0.0.1:0",
        ],
        &folder.path().join("log"),
    );
    let address = server.text("listen");
    let body = serde_json::json!({ "document": document("idle", "- one: { call: noop, with: { n: 1 } }\n- two: { run: { shell: { command: 'true' } } }") });
    let body = body.to_string();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let (address, body) = (&address, &body);
            scope.spawn(move || submit_many(address, token, body, RUNS / CLIENTS, client));
        }
    });
    let metrics = wait_for("all steps to be ready", || {
        let metrics = get(&address, token, "/metrics");
        (gauge(&metrics, "sagewai_steps{state=\"ready\"}") >= RUNS as f64).then_some(metrics)
    });
    assert_eq!(
        gauge(&metrics, "sagewai_steps_leased_total"),
        0.0,
        "no step may start without a worker\n{metrics}"
    );
    let page: Value = serde_json::from_str(&get(&address, token, "/api/v1/runs?limit=5")).unwrap();
    for run in page["items"].as_array().unwrap() {
        let shown: Value = serde_json::from_str(&get(
            &address,
            token,
            &format!("/api/v1/runs/{}", run["id"].as_str().unwrap()),
        ))
        .unwrap();
        assert_eq!(shown["steps"].as_array().unwrap().len(), 1, "planned up to its first step: {shown:#}");
        assert!(shown["steps"][0]["started"].is_null(), "{shown:#}");
    }
}

fn submit_many(address: &str, token: &str, body: &str, count: usize, client: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "POST /api/v1/runs HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    for number in 0..count {
        stream.write_all(request.as_bytes()).unwrap();
        let (status, _) = read_answer(&mut stream);
        assert!((200..300).contains(&status), "client {client}, run {number}: {status}");
    }
}

fn get(address: &str, token: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: {address}\r\nauthorization: Bearer {token}\r\n\r\n")
        .unwrap();
    let (status, body) = read_answer(&mut stream);
    assert_eq!(status, 200, "{path}: {body}");
    body
}

/// One answer of HTTP/1.1 with `content-length` or chunks.
fn read_answer(stream: &mut TcpStream) -> (u16, String) {
    let mut seen = Vec::new();
    let mut piece = [0; 16 * 1024];
    loop {
        let read = stream.read(&mut piece).unwrap();
        assert!(read > 0, "the server closed the connection");
        seen.extend_from_slice(&piece[..read]);
        let Some(end) = seen.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&seen[..end]).to_ascii_lowercase();
        let body = &seen[end + 4..];
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .and_then(|text| text.parse::<usize>().ok());
        let complete = match length {
            Some(length) => body.len() >= length,
            None => body.ends_with(b"0\r\n\r\n"),
        };
        if complete {
            let status = head.split(' ').nth(1).unwrap().parse().unwrap();
            return (status, String::from_utf8_lossy(body).into_owned());
        }
    }
}

/// The value of a metric, labels included in its name.
fn gauge(metrics: &str, name: &str) -> f64 {
    let line = metrics.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok())
        .unwrap_or_else(|| panic!("no {name} in\n{metrics}"))
}
