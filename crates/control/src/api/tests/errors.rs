//! Every error is a problem that says where and what to do.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::super::limits::{BODY_LIMIT_BYTES, HEADER_LIMIT_BYTES};
use super::{ADMIN, OPERATOR, Server};

#[tokio::test]
async fn an_unknown_path_is_a_problem() {
    let answer = Server::start().await.read("/api/v1/nothing", ADMIN).await;
    assert_eq!((answer.status, answer.problem().as_str()), (StatusCode::NOT_FOUND, "not-found"));
}

#[tokio::test]
async fn an_unknown_method_is_a_problem_that_lists_the_methods() {
    let answer = Server::start().await.call("PUT", "/api/v1/runs", ADMIN, None).await;
    assert_eq!(
        (answer.status, answer.problem().as_str()),
        (StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed")
    );
    let allowed = answer.headers["allow"].to_str().unwrap();
    assert!(allowed.contains("GET") && allowed.contains("POST"), "{allowed}");
}

#[tokio::test]
async fn a_large_body_is_refused_by_its_length_and_by_its_bytes() {
    let server = Server::start().await;
    let post = || {
        Request::post("/api/v1/runs")
            .header("authorization", format!("Bearer {OPERATOR}"))
            .header("content-type", "application/json")
    };
    let declared = post().header("content-length", BODY_LIMIT_BYTES + 1).body(Body::empty()).unwrap();
    assert_eq!(server.send(declared).await.problem(), "payload-too-large");
    let chunks = futures_util::stream::iter(
        (0..=BODY_LIMIT_BYTES >> 16)
            .map(|_| Ok::<_, std::io::Error>(bytes::Bytes::from(vec![b' '; 1 << 16]))),
    );
    let streamed = post().body(Body::from_stream(chunks)).unwrap();
    assert_eq!(server.send(streamed).await.problem(), "payload-too-large");
}

#[tokio::test]
async fn large_header_fields_are_refused() {
    let request =
        Request::get("/healthz").header("x-large", "x".repeat(HEADER_LIMIT_BYTES)).body(Body::empty());
    let answer = Server::start().await.send(request.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (431, "headers-too-large"));
}

#[tokio::test]
async fn a_body_that_is_not_json_is_refused_by_its_type() {
    let request = Request::post("/api/v1/runs")
        .header("authorization", format!("Bearer {OPERATOR}"))
        .header("content-type", "text/yaml")
        .body(Body::from("document: {}"));
    let answer = Server::start().await.send(request.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (415, "unsupported-media-type"));
}

#[tokio::test]
async fn malformed_json_names_the_line() {
    let request = Request::post("/api/v1/runs")
        .header("authorization", format!("Bearer {OPERATOR}"))
        .header("content-type", "application/json; charset=utf-8")
        .body(Body::from("{\n  \"document\": ,\n}"));
    let answer = Server::start().await.send(request.unwrap()).await;
    assert_eq!((answer.status.as_u16(), answer.problem().as_str()), (400, "malformed-request"));
    assert_eq!(
        (&answer.json()["errors"][0]["line"], &answer.json()["errors"][0]["column"]),
        (&json!(2), &json!(15))
    );
}

#[tokio::test]
async fn a_body_of_the_wrong_shape_names_the_member() {
    let server = Server::start().await;
    let body = json!({ "workflow": { "namespace": "acme", "name": 7 } });
    let answer = server.call("POST", "/api/v1/runs", OPERATOR, Some(body)).await;
    assert_eq!(answer.problem(), "malformed-request");
    assert_eq!(answer.json()["errors"][0]["pointer"], "/workflow/name");
    let answer = server.call("POST", "/api/v1/runs", OPERATOR, Some(json!({ "documnet": "" }))).await;
    assert!(answer.json()["detail"].as_str().unwrap().contains("documnet"));
}

#[tokio::test]
async fn an_unknown_parameter_is_refused() {
    let answer = Server::start().await.read("/api/v1/runs?stat=faulted", ADMIN).await;
    assert_eq!(answer.problem(), "malformed-request");
    assert!(answer.json()["detail"].as_str().unwrap().contains("stat"), "{}", answer.json());
}

#[tokio::test]
async fn the_id_of_a_run_is_checked() {
    let server = Server::start().await;
    assert_eq!(server.read("/api/v1/runs/7", ADMIN).await.problem(), "malformed-request");
    let unknown = server.read("/api/v1/runs/01010101-0101-0101-0101-010101010101", ADMIN).await;
    assert_eq!(unknown.problem(), "not-found");
}

#[tokio::test]
async fn the_type_of_a_problem_is_a_page_of_the_server() {
    let server = Server::start().await;
    let kind = server.read("/api/v1/nothing", ADMIN).await.json()["type"].as_str().unwrap().to_owned();
    let page = server.read(&kind, ADMIN).await;
    assert_eq!(page.status, StatusCode::OK);
    assert!(String::from_utf8_lossy(&page.bytes).starts_with("Not found (404)"));
}
