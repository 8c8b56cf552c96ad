//! Tokens, roles and namespaces.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use serde_json::json;

use super::{ACME, ADMIN, OPERATOR, Server, VIEWER};

#[tokio::test]
async fn without_a_valid_token_nothing_is_told() {
    let server = Server::start().await;
    let none = server.send(Request::get("/api/v1/runs").body(Body::empty()).unwrap()).await;
    assert_eq!((none.status, none.problem().as_str()), (StatusCode::UNAUTHORIZED, "unauthenticated"));
    assert!(none.headers["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    assert_eq!(server.read("/api/v1/runs", "swt_guessed").await.problem(), "unauthenticated");
    let basic =
        Request::get("/api/v1/runs").header("authorization", "Basic c3d0X2FkbWlu").body(Body::empty());
    assert_eq!(server.send(basic.unwrap()).await.problem(), "unauthenticated");
}

#[tokio::test]
async fn health_needs_no_token_and_metrics_do() {
    let server = Server::start().await;
    let bare = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(server.send(bare("/healthz")).await.status, StatusCode::OK);
    assert_eq!(server.send(bare("/metrics")).await.status, StatusCode::UNAUTHORIZED);
    let metrics = server.read("/metrics", VIEWER).await;
    assert_eq!(metrics.status, StatusCode::OK);
    assert!(
        String::from_utf8_lossy(&metrics.bytes).contains("# TYPE sagewai_runs_submitted_total counter\n")
    );
    assert_eq!(server.read("/metrics", ACME).await.problem(), "forbidden");
}

#[tokio::test]
async fn a_viewer_reads_and_an_operator_writes() {
    let server = Server::start().await;
    let run = server.stored_run(1, "acme").await;
    assert_eq!(server.read(&format!("/api/v1/runs/{run}"), VIEWER).await.status, StatusCode::OK);
    for path in [format!("/api/v1/runs/{run}/cancel"), format!("/api/v1/runs/{run}/suspend")] {
        assert_eq!(server.call("POST", &path, VIEWER, None).await.problem(), "forbidden");
    }
    let body = json!({ "document": "" });
    assert_eq!(server.call("POST", "/api/v1/runs", VIEWER, Some(body.clone())).await.problem(), "forbidden");
    assert_eq!(server.call("POST", "/api/v1/workflows", VIEWER, Some(body)).await.problem(), "forbidden");
    assert_eq!(server.read("/api/v1/tokens", OPERATOR).await.problem(), "forbidden");
    assert_eq!(server.call("POST", "/api/v1/workers/w/drain", OPERATOR, None).await.problem(), "forbidden");
}

#[tokio::test]
async fn a_bound_token_does_not_see_other_namespaces() {
    let server = Server::start().await;
    let own = server.stored_run(1, "acme").await;
    let other = server.stored_run(2, "beta").await;
    assert_eq!(server.read(&format!("/api/v1/runs/{own}"), ACME).await.status, StatusCode::OK);
    for path in ["", "/steps", "/history", "/events", "/logs", "/artifacts"] {
        assert_eq!(
            server.read(&format!("/api/v1/runs/{other}{path}"), ACME).await.problem(),
            "not-found",
            "{path}"
        );
    }
    assert_eq!(
        server.call("POST", &format!("/api/v1/runs/{other}/cancel"), ACME, None).await.problem(),
        "not-found"
    );
    let listed = server.read("/api/v1/runs", ACME).await.json();
    assert_eq!(listed["items"].as_array().unwrap().len(), 1);
    assert_eq!(server.read("/api/v1/runs?namespace=beta", ACME).await.problem(), "forbidden");
    let body = json!({ "workflow": { "namespace": "beta", "name": "w" } });
    assert_eq!(server.call("POST", "/api/v1/runs", ACME, Some(body)).await.problem(), "forbidden");
}

#[tokio::test]
async fn a_token_is_shown_once_works_and_can_be_revoked() {
    let server = Server::start().await;
    let body = json!({ "name": "ci", "role": "operator", "namespaces": ["acme"] });
    let made = server.call("POST", "/api/v1/tokens", ADMIN, Some(body)).await;
    assert_eq!(made.status, StatusCode::CREATED);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let id = made.json()["token"]["id"].as_str().unwrap().to_owned();

    let known = server.read("/api/v1/version", &secret).await.json();
    assert_eq!((&known["role"], &known["namespaces"]), (&json!("operator"), &json!(["acme"])));
    let listed = server.read("/api/v1/tokens", ADMIN).await;
    let text = String::from_utf8_lossy(&listed.bytes).into_owned();
    assert!(text.contains(&id) && !text.contains(&secret), "{text}");

    assert_eq!(server.call("DELETE", &format!("/api/v1/tokens/{id}"), ADMIN, None).await.status, 204);
    assert_eq!(server.read("/api/v1/version", &secret).await.problem(), "unauthenticated");
    assert_eq!(
        server.call("DELETE", &format!("/api/v1/tokens/{id}"), ADMIN, None).await.problem(),
        "not-found"
    );
}

#[tokio::test]
async fn a_join_token_is_kept_as_a_hash_that_the_worker_service_finds() {
    let server = Server::start().await;
    let made = server
        .call("POST", "/api/v1/join-tokens", ADMIN, Some(json!({ "name": "rack 1", "seconds": 60 })))
        .await;
    assert_eq!(made.status, StatusCode::CREATED);
    let secret = made.json()["secret"].as_str().unwrap().to_owned();
    let hash = super::tokens::hash(&secret);
    let now = crate::clock::Clock::System.now();
    assert!(server.store.join_token_by_hash(&hash, now).await.unwrap().is_some());
    assert!(server.store.join_token_by_hash(&hash, now.plus(61_000)).await.unwrap().is_none());
    let body = json!({ "name": "forever", "seconds": 0 });
    assert_eq!(
        server.call("POST", "/api/v1/join-tokens", ADMIN, Some(body)).await.problem(),
        "malformed-request"
    );
}

#[tokio::test]
async fn the_first_admin_token_is_made_once() {
    let server = Server::start().await;
    let hash = super::tokens::hash("swt_first");
    for _ in 0..2 {
        super::tokens::ensure_admin(&*server.store, "dev", hash).await.unwrap();
    }
    assert_eq!(server.store.tokens().await.unwrap().iter().filter(|token| token.name == "dev").count(), 1);
    assert_eq!(server.read("/api/v1/tokens", "swt_first").await.status, StatusCode::OK);
}
