//! The worker on its stream, against a server that does what the test says.

use crate::support::{FakeServer, attempt, bare, patient, shell, start_worker};
use protocol::step::{StepOutcome, Work};
use protocol::worker_api::{Cancel, server_message, worker_message};
use serde_json::json;

fn noop(value: serde_json::Value) -> protocol::step::StepSpec {
    bare(Work::Noop { value })
}

#[tokio::test]
async fn a_step_is_run_and_its_outcome_reported_after_its_credit() {
    let mut server = FakeServer::start().await;
    let _worker = start_worker(server.address, |_| {});
    let (mut link, hello) = server.welcome(vec![]).await;
    assert_eq!((hello.slots, hello.bare_run, hello.modes), (4, true, vec!["bare".to_owned()]));
    assert!(matches!(link.next().await, worker_message::Kind::Ready(ready) if ready.credit == 4));
    link.assign(attempt(1), &noop(json!({"a": 1}))).await;
    assert!(matches!(link.next().await, worker_message::Kind::Ready(ready) if ready.credit == 1));
    let (id, outcome) = link.outcome().await;
    assert_eq!(id, attempt(1));
    assert_eq!(outcome, StepOutcome::Completed { output: json!({"a": 1}), artifacts: vec![] });
}

#[tokio::test]
async fn an_unacknowledged_outcome_is_held_and_reported_again_on_the_next_stream() {
    let mut server = FakeServer::start().await;
    let _worker = start_worker(server.address, |_| {});
    let (mut link, _) = server.welcome(vec![]).await;
    link.assign(attempt(1), &noop(json!(1))).await;
    link.assign(attempt(2), &noop(json!(2))).await;
    let mut reported = vec![link.outcome().await.0];
    link.acknowledge(attempt(1)).await;
    drop(link);
    let (mut link, hello) = server.welcome(vec![]).await;
    assert!(hello.held.iter().any(|held| held.step == 2), "{:?}", hello.held);
    while !reported.contains(&attempt(2)) {
        reported.push(link.outcome().await.0);
    }
    link.acknowledge(attempt(2)).await;
}

#[tokio::test]
async fn a_running_step_survives_the_loss_of_the_stream() {
    let mut server = FakeServer::start().await;
    let gate = tempfile::tempdir().unwrap();
    let gate = gate.path().join("go");
    let _worker = start_worker(server.address, |_| {});
    let (mut link, _) = server.welcome(vec![]).await;
    link.assign(attempt(1), &shell(&format!("mkfifo {0}; read x < {0}; echo $x", gate.display()))).await;
    link.started().await;
    drop(link);
    let (mut link, hello) = server.welcome(vec![]).await;
    assert_eq!(hello.held.len(), 1, "the step is still held");
    while !gate.exists() {
        tokio::task::yield_now().await;
    }
    tokio::task::spawn_blocking(move || std::fs::write(gate, "on\n")).await.unwrap().unwrap();
    let (_, outcome) = link.outcome().await;
    assert_eq!(outcome, StepOutcome::Completed { output: json!("on"), artifacts: vec![] });
}

#[tokio::test]
async fn a_cancelled_step_is_stopped_and_reported() {
    let mut server = FakeServer::start().await;
    let _worker = start_worker(server.address, |_| {});
    let (mut link, _) = server.welcome(vec![]).await;
    link.assign(attempt(1), &shell("sleep 1000 & wait")).await;
    link.started().await;
    link.send(server_message::Kind::Cancel(Cancel { attempts: vec![attempt(1).into()] })).await;
    assert_eq!(link.outcome().await, (attempt(1), StepOutcome::Cancelled));
}

#[tokio::test]
async fn a_lost_lease_stops_the_step_without_a_report_and_its_credit_comes_back() {
    let mut server = FakeServer::start().await;
    let _worker = start_worker(server.address, |_| {});
    let (mut link, _) = server.welcome(vec![]).await;
    link.assign(attempt(1), &shell("sleep 1000 & wait")).await;
    link.started().await;
    drop(link);
    let (mut link, _) = server.welcome(vec![attempt(1)]).await;
    let mut credit = 0;
    while credit < 4 {
        match link.next().await {
            worker_message::Kind::Ready(ready) => credit += ready.credit,
            worker_message::Kind::Reports(reports) => {
                let outcome = |report: &protocol::worker_api::Report| {
                    matches!(report.kind, Some(protocol::worker_api::report::Kind::Outcome(_)))
                };
                assert!(!reports.reports.iter().any(outcome), "nobody wants this report");
            }
            _ => {}
        }
    }
}

#[tokio::test]
async fn a_repeated_assignment_runs_once() {
    let mut server = FakeServer::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("runs");
    let _worker = start_worker(server.address, |_| {});
    let (mut link, _) = server.welcome(vec![]).await;
    let spec = shell(&format!("echo ran >> {}", file.display()));
    link.assign(attempt(1), &spec).await;
    link.assign(attempt(1), &spec).await;
    link.outcome().await;
    link.assign(attempt(1), &spec).await;
    link.assign(attempt(2), &noop(json!(null))).await;
    link.outcome().await;
    assert_eq!(std::fs::read_to_string(file).unwrap(), "ran\n");
}

#[tokio::test]
async fn a_drained_worker_finishes_what_it_holds_and_ends() {
    let mut server = FakeServer::start().await;
    let worker = start_worker(server.address, |_| {});
    let (mut link, _) = server.welcome(vec![]).await;
    link.assign(attempt(1), &shell("read line; echo done")).await;
    worker.shutdown.cancel();
    let (id, outcome) = link.outcome().await;
    assert_eq!(outcome, StepOutcome::Completed { output: json!("done"), artifacts: vec![] });
    link.acknowledge(id).await;
    patient(worker.done).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_refused_credential_ends_the_worker_with_the_remedy() {
    let server = FakeServer::start().await;
    let worker = start_worker(server.address, |config| config.credential = "stolen".to_owned());
    let error = patient(worker.done).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("enrol the worker again"), "{error}");
}

#[tokio::test]
async fn a_join_token_is_traded_for_a_credential() {
    let server = FakeServer::start().await;
    let url = format!("http://{}", server.address);
    assert_eq!(worker::enrol(&url, "good", "w7").await.unwrap(), ("w7".to_owned(), "secret".to_owned()));
    assert!(worker::enrol(&url, "bad", "w7").await.unwrap_err().to_string().contains("join token"));
}
