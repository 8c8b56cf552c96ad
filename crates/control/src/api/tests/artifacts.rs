//! Artifacts: listed, fetched by path and by hash, not sent again to a client that has them.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};
use protocol::step::{Artifact, Mode};
use serde_json::json;
use store::{NewStep, StepChange, StepState, Turn};

use super::{ADMIN, Server};

const REPORT: &[u8] = b"# Report\n";

/// A run whose only step gave `report.md`.
async fn run_with_report(server: &Server) -> (RunId, String) {
    let run = server.stored_run(7, "acme").await;
    let sha256 = server.blobs.put(Bytes::from_static(REPORT)).await.unwrap().to_string();
    let step = StepId(1);
    let ready = NewStep {
        step,
        task: "/do/0/write".to_owned(),
        name: "write".to_owned(),
        mode: Mode::Full,
        class: "c".to_owned(),
        priority: 0,
        spec: Bytes::from_static(b"{}"),
        at: Timestamp(1),
    };
    let artifact =
        Artifact { path: "report.md".to_owned(), size: REPORT.len() as u64, sha256: sha256.clone() };
    let steps = vec![
        StepChange::Ready(ready),
        StepChange::Leased { step, attempt: 1, worker: "w1".to_owned(), at: Timestamp(2) },
        StepChange::Started { step, attempt: 1, at: Timestamp(3), sandbox: Some("namespace/1".to_owned()) },
        StepChange::Finished {
            step,
            attempt: 1,
            state: StepState::Completed,
            at: Timestamp(4),
            artifacts: vec![artifact],
            error: None,
        },
    ];
    server.store.commit(vec![Turn { steps, ..Turn::of(run) }]).await.unwrap();
    (run, sha256)
}

#[tokio::test]
async fn an_artifact_is_listed_and_fetched() {
    let server = Server::start().await;
    let (run, sha256) = run_with_report(&server).await;
    let listed = server.read(&format!("/api/v1/runs/{run}/artifacts"), ADMIN).await.json();
    let entry = json!({ "step": 1, "task": "write", "path": "report.md", "size": 9, "sha256": sha256 });
    assert_eq!(listed["items"], json!([entry]));
    for query in ["path=report.md".to_owned(), format!("sha256={sha256}")] {
        let fetched = server.read(&format!("/api/v1/runs/{run}/artifacts/content?{query}"), ADMIN).await;
        assert_eq!((fetched.status, &fetched.bytes[..]), (StatusCode::OK, REPORT));
        assert_eq!(fetched.headers["etag"], format!("\"{sha256}\""));
        assert_eq!(fetched.headers["x-content-type-options"], "nosniff");
    }
    let missing = server.read(&format!("/api/v1/runs/{run}/artifacts/content?path=other"), ADMIN).await;
    assert_eq!(missing.problem(), "not-found");
    let vague = server.read(&format!("/api/v1/runs/{run}/artifacts/content"), ADMIN).await;
    assert_eq!(vague.problem(), "malformed-request");
}

#[tokio::test]
async fn a_client_that_has_the_artifact_gets_no_bytes() {
    let server = Server::start().await;
    let (run, sha256) = run_with_report(&server).await;
    let request = Request::get(format!("/api/v1/runs/{run}/artifacts/content?path=report.md"))
        .header("authorization", format!("Bearer {ADMIN}"))
        .header("if-none-match", format!("\"{sha256}\""));
    let answer = server.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.bytes.len()), (StatusCode::NOT_MODIFIED, 0));
}

#[tokio::test]
async fn a_step_is_shown_with_its_mode_worker_sandbox_and_times() {
    let server = Server::start().await;
    let (run, _) = run_with_report(&server).await;
    let shown = server.read(&format!("/api/v1/runs/{run}"), ADMIN).await.json();
    let step = &shown["steps"][0];
    assert_eq!((&step["mode"], &step["mode_number"]), (&json!("full"), &json!("3")));
    assert_eq!((&step["worker"], &step["sandbox"]), (&json!("w1"), &json!("namespace/1")));
    assert_eq!((&step["state"], &step["artifacts"]), (&json!("completed"), &json!(1)));
    assert_eq!(step["started"], "1970-01-01T00:00:00.003Z");
    assert_eq!(shown["input"], json!({ "n": 1 }));
}
