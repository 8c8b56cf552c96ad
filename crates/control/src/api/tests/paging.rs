//! Lists come in pages whose cursors are opaque and whose `Link` leads on.

use axum::http::StatusCode;

use super::{ADMIN, Server};

#[tokio::test]
async fn the_links_lead_through_all_runs_once() {
    let server = Server::start().await;
    for number in 1..=5 {
        server.stored_run(number, "acme").await;
    }
    let mut path = "/api/v1/runs?limit=2&state=pending".to_owned();
    let mut seen = Vec::new();
    loop {
        let page = server.read(&path, ADMIN).await;
        assert_eq!(page.status, StatusCode::OK);
        let json = page.json();
        seen.extend(
            json["items"].as_array().unwrap().iter().map(|run| run["id"].as_str().unwrap().to_owned()),
        );
        let Some(link) = page.headers.get("link") else {
            assert!(json.get("next").is_none());
            break;
        };
        let link = link.to_str().unwrap();
        let target = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
        assert!(target.contains("state=pending"), "{target}");
        path = target.to_owned();
    }
    let mut sorted = seen.clone();
    sorted.sort();
    sorted.dedup();
    sorted.reverse();
    assert_eq!(seen, sorted, "newest first, each once");
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn filters_are_applied() {
    let server = Server::start().await;
    for number in 1..=4 {
        server.stored_run(number, if number < 3 { "acme" } else { "beta" }).await;
    }
    let count = async |query: &str| {
        let answer = server.read(&format!("/api/v1/runs?{query}"), ADMIN).await;
        answer.json()["items"].as_array().map(Vec::len)
    };
    assert_eq!(count("namespace=acme").await, Some(2));
    assert_eq!(count("namespace=acme&workflow=w").await, Some(2));
    assert_eq!(count("label=team%3Dt0").await, Some(2));
    assert_eq!(count("state=completed").await, Some(0));
}

#[tokio::test]
async fn wrong_paging_is_refused() {
    let server = Server::start().await;
    for query in ["limit=0", "limit=1001", "cursor=abc", "workflow=w", "label=x", "parent=x", "state=done"] {
        assert_eq!(
            server.read(&format!("/api/v1/runs?{query}"), ADMIN).await.problem(),
            "malformed-request",
            "{query}"
        );
    }
}
