//! The OpenAPI document describes every route, and every route is guarded.

use std::collections::BTreeSet;

use axum::body::Body;
use axum::http::{Request, StatusCode};

use super::{ADMIN, Server};

/// Every operation. A route that is added, renamed or removed changes this list in the same commit.
const OPERATIONS: &[&str] = &[
    "DELETE /api/v1/join-tokens/{id}",
    "DELETE /api/v1/tokens/{id}",
    "DELETE /api/v1/workers/{name}",
    "GET /api/v1/join-tokens",
    "GET /api/v1/runs",
    "GET /api/v1/runs/{id}",
    "GET /api/v1/runs/{id}/artifacts",
    "GET /api/v1/runs/{id}/artifacts/content",
    "GET /api/v1/runs/{id}/events",
    "GET /api/v1/runs/{id}/history",
    "GET /api/v1/runs/{id}/logs",
    "GET /api/v1/runs/{id}/steps",
    "GET /api/v1/tokens",
    "GET /api/v1/version",
    "GET /api/v1/workers",
    "GET /api/v1/workflows",
    "GET /api/v1/workflows/{namespace}/{name}/{version}",
    "GET /healthz",
    "GET /metrics",
    "GET /readyz",
    "POST /api/v1/join-tokens",
    "POST /api/v1/runs",
    "POST /api/v1/runs/{id}/cancel",
    "POST /api/v1/runs/{id}/resume",
    "POST /api/v1/runs/{id}/retry",
    "POST /api/v1/runs/{id}/suspend",
    "POST /api/v1/tokens",
    "POST /api/v1/workers/{name}/drain",
    "POST /api/v1/workers/{name}/undrain",
    "POST /api/v1/workflows",
    "POST /api/v1/workflows/validate",
];

const OPEN: &[&str] = &["/healthz", "/readyz"];

#[tokio::test]
async fn the_document_has_every_operation_and_nothing_else() {
    let answer = Server::start().await.read("/api/v1/openapi.json", ADMIN).await;
    assert_eq!(answer.status, StatusCode::OK);
    let document = answer.json();
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"), "{}", document["openapi"]);
    let mut found = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            found.insert(format!("{} {path}", method.to_uppercase()));
        }
    }
    let expected: BTreeSet<String> = OPERATIONS.iter().map(|&operation| operation.to_owned()).collect();
    assert_eq!(found, expected);
}

#[tokio::test]
async fn every_reference_of_the_document_leads_somewhere() {
    let document = Server::start().await.read("/api/v1/openapi.json", ADMIN).await.json();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
    }
}

#[tokio::test]
async fn every_operation_but_health_wants_a_token() {
    let server = Server::start().await;
    for operation in OPERATIONS {
        let (method, path) = operation.split_once(' ').unwrap();
        if OPEN.contains(&path) {
            continue;
        }
        let path = path.replace("{id}", "01010101-0101-0101-0101-010101010101");
        let path = path.replace("{namespace}", "n").replace("{name}", "w").replace("{version}", "1.0.0");
        let request = Request::builder().method(method).uri(&path).header("content-type", "application/json");
        let answer = server.send(request.body(Body::from("{}")).unwrap()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{operation}");
    }
}
