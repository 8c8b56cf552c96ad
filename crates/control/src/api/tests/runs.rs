//! Runs from their submission to their end, on a control plane without workers.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::{Value, json};

use super::{ACME, ADMIN, Answer, OPERATOR, Server, VIEWER};

const ADD: &str = "\
document: { dsl: '1.0.3', namespace: acme, name: add, version: '1.0.0' }
do:
  - add: { set: { sum: '${ .a + .b }' } }
";

const SHELL: &str = "\
document: { dsl: '1.0.3', namespace: acme, name: shell, version: '1.0.0' }
do:
  - work: { run: { shell: { command: 'true' } } }
";

async fn submit(server: &Server, document: &str, input: Value) -> Answer {
    server.call("POST", "/api/v1/runs", OPERATOR, Some(json!({ "document": document, "input": input }))).await
}

/// The events of a run's stream, which ends with the run.
async fn events(server: &Server, id: &str) -> Vec<Value> {
    let answer = server.read(&format!("/api/v1/runs/{id}/events"), VIEWER).await;
    assert_eq!(answer.headers["content-type"], "text/event-stream");
    let text = String::from_utf8(answer.bytes.to_vec()).unwrap();
    text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data: ")?).ok()).collect()
}

#[tokio::test]
async fn a_run_is_accepted_followed_to_its_end_and_shown() {
    let server = Server::start().await;
    let accepted = submit(&server, ADD, json!({ "a": 40, "b": 2 })).await;
    assert_eq!(accepted.status, StatusCode::CREATED);
    let id = accepted.json()["id"].as_str().unwrap().to_owned();
    assert_eq!(accepted.headers["location"], format!("/api/v1/runs/{id}"));

    let events = events(&server, &id).await;
    assert_eq!(events.first().unwrap()["event"], "snapshot");
    assert_eq!(events.last().unwrap(), &json!({ "event": "end", "state": "completed" }));
    let shown = server.read(&format!("/api/v1/runs/{id}"), VIEWER).await.json();
    assert_eq!((&shown["output"], &shown["summary"]["state"]), (&json!({ "sum": 42 }), &json!("completed")));
    assert!(shown["summary"]["labels"].is_null(), "the platform's labels are not shown: {shown}");
    let history = server.read(&format!("/api/v1/runs/{id}/history"), VIEWER).await.json();
    assert_eq!(history["items"][0]["number"], 1);
}

#[tokio::test]
async fn the_same_key_gives_the_same_run_and_another_request_is_refused() {
    let server = Server::start().await;
    let send = async |input: Value| {
        let body = json!({ "document": ADD, "input": input }).to_string();
        let request = Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {OPERATOR}"))
            .header("content-type", "application/json")
            .header("idempotency-key", "order-7");
        server.send(request.body(Body::from(body)).unwrap()).await
    };
    let first = send(json!({ "a": 1, "b": 1 })).await.json();
    assert_eq!(send(json!({ "a": 1, "b": 1 })).await.json()["id"], first["id"]);
    let other = send(json!({ "a": 2, "b": 2 })).await;
    assert_eq!((other.status.as_u16(), other.problem().as_str()), (422, "idempotency-mismatch"));
}

#[tokio::test]
async fn a_document_that_is_refused_names_its_places() {
    let server = Server::start().await;
    let refused = submit(&server, &ADD.replace("set:", "sett:"), Value::Null).await;
    assert_eq!((refused.status.as_u16(), refused.problem().as_str()), (422, "invalid-document"));
    let finding = &refused.json()["errors"][0];
    assert_eq!((&finding["pointer"], &finding["line"]), (&json!("/do/0/add"), &json!(3)));
    let validation = server
        .call("POST", "/api/v1/workflows/validate", VIEWER, Some(json!({ "document": ADD })))
        .await
        .json();
    assert_eq!(validation, json!({ "valid": true, "findings": [] }));
}

#[tokio::test]
async fn one_of_document_and_workflow_is_needed() {
    let server = Server::start().await;
    let reference = json!({ "namespace": "acme", "name": "add" });
    for body in [json!({}), json!({ "document": ADD, "workflow": reference })] {
        assert_eq!(
            server.call("POST", "/api/v1/runs", OPERATOR, Some(body)).await.problem(),
            "malformed-request"
        );
    }
    let unknown = server.call("POST", "/api/v1/runs", OPERATOR, Some(json!({ "workflow": reference }))).await;
    assert_eq!(unknown.problem(), "not-found");
}

#[tokio::test]
async fn a_document_of_another_namespace_needs_a_token_of_it() {
    let server = Server::start().await;
    let beta = ADD.replace("acme", "beta");
    let refused = server.call("POST", "/api/v1/runs", ACME, Some(json!({ "document": beta }))).await;
    assert_eq!(refused.problem(), "malformed-request");
    let refused = server.call("POST", "/api/v1/workflows", ACME, Some(json!({ "document": beta }))).await;
    assert_eq!(refused.problem(), "forbidden");
}

#[tokio::test]
async fn a_published_workflow_is_listed_run_and_never_changes() {
    let server = Server::start().await;
    let publish = async |text: &str| {
        server.call("POST", "/api/v1/workflows", OPERATOR, Some(json!({ "document": text }))).await
    };
    let published = publish(ADD).await;
    assert_eq!(published.status, StatusCode::CREATED);
    assert_eq!(published.headers["location"], "/api/v1/workflows/acme/add/1.0.0");
    assert_eq!(publish(ADD).await.status, StatusCode::CREATED);
    assert_eq!(publish(&ADD.replace(".a + .b", ".a - .b")).await.problem(), "conflict");

    submit(&server, SHELL, Value::Null).await;
    let listed = server.read("/api/v1/workflows", ADMIN).await.json();
    let names: Vec<&Value> = listed["items"].as_array().unwrap().iter().map(|row| &row["name"]).collect();
    assert_eq!(names, ["add"], "texts that were only run are not listed");
    let shown = server.read("/api/v1/workflows/acme/add/latest", ADMIN).await.json();
    assert_eq!((&shown["document"], &shown["summary"]["version"]), (&json!(ADD), &json!("1.0.0")));

    let body = json!({ "workflow": { "namespace": "acme", "name": "add" }, "input": { "a": 1, "b": 2 } });
    let run = server.call("POST", "/api/v1/runs", ACME, Some(body)).await.json();
    let events = events(&server, run["id"].as_str().unwrap()).await;
    assert_eq!(events.last().unwrap()["state"], "completed");
}

#[tokio::test]
async fn without_a_worker_a_step_waits_and_says_why_until_the_run_is_cancelled() {
    let server = Server::start().await;
    let accepted = submit(&server, SHELL, Value::Null).await.json();
    let path = format!("/api/v1/runs/{}", accepted["id"].as_str().unwrap());
    let step = loop {
        let shown = server.read(&path, VIEWER).await.json();
        match shown["steps"].get(0) {
            Some(step) => break step.clone(),
            None => tokio::task::yield_now().await,
        }
    };
    assert_eq!((&step["state"], &step["mode_number"]), (&json!("ready"), &json!("1")));
    assert!(step["waiting"].as_str().is_some_and(|why| why.contains("worker")), "{step}");

    let order = async |verb: &str| server.call("POST", &format!("{path}/{verb}"), OPERATOR, None).await;
    assert_eq!(order("resume").await.problem(), "conflict");
    assert_eq!(order("suspend").await.status, StatusCode::OK);
    assert_eq!(order("resume").await.status, StatusCode::OK);
    assert_eq!(order("cancel").await.status, StatusCode::OK);
    let events = events(&server, accepted["id"].as_str().unwrap()).await;
    assert_eq!(events.last().unwrap()["state"], "cancelled");
    let again = order("cancel").await;
    assert_eq!(again.problem(), "conflict");
    assert!(again.json()["detail"].as_str().unwrap().contains("is cancelled: it cannot be cancelled"));
}

#[tokio::test]
async fn the_platforms_labels_cannot_be_set() {
    let server = Server::start().await;
    let body = json!({ "document": ADD, "labels": { "sagewai.document": "x" } });
    assert_eq!(
        server.call("POST", "/api/v1/runs", OPERATOR, Some(body)).await.problem(),
        "malformed-request"
    );
}

#[tokio::test]
async fn a_client_that_prefers_to_wait_gets_the_output() {
    let server = Server::start().await;
    let submit = async |tasks: &str, wait: &str| {
        let document =
            format!("document: {{ dsl: '1.0.3', namespace: acme, name: w, version: '1.0.0' }}\ndo: {tasks}");
        let request = Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {}", OPERATOR))
            .header("content-type", "application/json")
            .header("prefer", wait)
            .body(serde_json::json!({ "document": document }).to_string().into());
        server.send(request.expect("well-formed")).await
    };
    let ended = submit("[{ one: { set: { n: 1 } } }]", "wait=20").await;
    assert_eq!(ended.headers["preference-applied"], "wait=20");
    assert_eq!(ended.json()["output"], serde_json::json!({ "n": 1 }));
    // No worker is here, so this one does not end: the answer is the usual one.
    let waiting = submit("[{ one: { call: noop, with: { n: 1 } } }]", "wait=1").await;
    assert!(!waiting.headers.contains_key("preference-applied"));
    assert_eq!(waiting.status, StatusCode::CREATED);
    assert!(waiting.json()["id"].is_string());
}
