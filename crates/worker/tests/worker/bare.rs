//! Mode 0: HTTP with its guard, processes with the operator's leave.

use crate::support::{FakeServer, attempt, get, shell, start_worker};
use protocol::step::{Mode, StepOutcome, StepSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use worker::WorkerConfig;

async fn run(spec: StepSpec, change: impl FnOnce(&mut WorkerConfig)) -> Result<Value, (String, String)> {
    let mut server = FakeServer::start().await;
    let _worker = start_worker(server.address, change);
    let (mut link, _) = server.welcome(vec![]).await;
    link.assign(attempt(1), &spec).await;
    match link.outcome().await.1 {
        StepOutcome::Completed { output, .. } => Ok(output),
        StepOutcome::Failed { error } => {
            Err((error.kind.rsplit('/').next().unwrap_or_default().to_owned(), error.detail))
        }
        StepOutcome::Cancelled => panic!("nobody cancelled"),
    }
}

/// A service that gives each connection the next of these answers.
async fn service(answers: Vec<String>) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    });
    address
}

fn http(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn allow(address: std::net::SocketAddr) -> impl FnOnce(&mut WorkerConfig) {
    move |config| config.egress = sandbox::egress::OperatorPolicy::parse([&address.to_string()]).unwrap()
}

#[tokio::test]
async fn a_private_address_is_refused_unless_the_operator_lists_it() {
    let address = service(vec![http("200 OK", "content-type: application/json\r\n", "[1]")]).await;
    let (kind, detail) = run(get(format!("http://{address}/")), |_| {}).await.unwrap_err();
    assert_eq!(kind, "authorization");
    assert!(detail.contains("--allow-private"), "{detail}");
    assert_eq!(run(get(format!("http://{address}/")), allow(address)).await.unwrap(), json!([1]));
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_refused() {
    let hidden = service(vec![http("200 OK", "", "metadata")]).await;
    let open = service(vec![http("302 Found", &format!("location: http://{hidden}/\r\n"), "")]).await;
    let mut spec = get(format!("http://{open}/"));
    if let protocol::step::Work::Http(call) = &mut spec.work {
        call.redirect = true;
    }
    let (kind, detail) = run(spec, allow(open)).await.unwrap_err();
    assert_eq!(kind, "authorization", "{detail}");
}

#[tokio::test]
async fn an_error_status_is_a_communication_error_that_quotes_the_answer() {
    let address = service(vec![http("503 Service Unavailable", "", "come back later")]).await;
    let (kind, detail) =
        run(get(format!("http://{address}/x?key=hidden")), allow(address)).await.unwrap_err();
    assert_eq!(kind, "communication");
    assert!(detail.contains("503") && detail.contains("come back later"), "{detail}");
    assert!(!detail.contains("hidden"), "queries may hold credentials: {detail}");
}

#[tokio::test]
async fn a_process_in_mode_0_needs_the_operators_leave() {
    assert_eq!(run(shell("echo hello"), |_| {}).await.unwrap(), json!("hello"));
    let (kind, detail) = run(shell("echo hello"), |config| config.bare_run = false).await.unwrap_err();
    assert_eq!(kind, "authorization");
    assert!(detail.contains("--allow-bare"), "{detail}");
}

#[tokio::test]
async fn a_step_that_takes_too_long_is_stopped_with_all_its_processes() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let mut spec = shell(&format!("sleep 1000 & echo $! > {}; wait", pid.display()));
    spec.timeout_ms = Some(300);
    let (kind, _) = run(spec, |_| {}).await.unwrap_err();
    assert_eq!(kind, "timeout");
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = std::path::PathBuf::from(format!("/proc/{}/stat", pid.trim()));
    while std::fs::read_to_string(&stat).is_ok_and(|text| !text.contains(") Z")) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_output_that_is_too_large_to_return_ends_the_step() {
    let (kind, detail) = run(shell("head -c 100000000 /dev/zero"), |_| {}).await.unwrap_err();
    assert_eq!(kind, "runtime");
    assert!(detail.contains("artifacts"), "{detail}");
}

#[tokio::test]
async fn a_sandboxed_step_on_a_worker_without_sandboxes_says_so() {
    let mut spec = shell("true");
    spec.mode = Mode::Sandboxed;
    let (kind, detail) = run(spec, |_| {}).await.unwrap_err();
    assert_eq!(kind, "configuration");
    assert!(detail.contains("sagewai doctor"), "{detail}");
}
