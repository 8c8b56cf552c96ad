//! The API over the memory store, through the router as a client meets it.

mod access;
mod artifacts;
mod documents;
mod errors;
mod paging;
mod runs;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use protocol::id::{RunId, Timestamp};
use serde_json::Value;
use store::blob::Blobs;
use store::memory::MemoryStore;
use store::{Store, Turn};
use tower::ServiceExt;

use super::access::Access;
use super::model::Role;
use super::tokens;

/// A server with a token of each role, and one bound to the namespace `acme`.
struct Server {
    router: Router,
    store: Arc<dyn Store>,
    blobs: Blobs,
}

const ADMIN: &str = "swt_admin";
const OPERATOR: &str = "swt_operator";
const VIEWER: &str = "swt_viewer";
const ACME: &str = "swt_acme";

impl Server {
    async fn start() -> Server {
        let store: Arc<dyn Store> = Arc::new(MemoryStore::new());
        let roles = [
            (ADMIN, Role::Admin, None),
            (OPERATOR, Role::Operator, None),
            (VIEWER, Role::Viewer, None),
            (ACME, Role::Operator, Some("acme".to_owned())),
        ];
        for (text, role, namespace) in roles {
            let access = Access { role, namespaces: namespace.into_iter().collect() };
            let row = store::ApiToken {
                id: text.to_owned(),
                hash: tokens::hash(text),
                name: text.to_owned(),
                role: access.encode(),
                created_at: Timestamp(0),
            };
            store.put_token(row).await.expect("the memory store takes it");
        }
        let blobs = Blobs::memory();
        let (control, _tasks) = crate::start(crate::ControlConfig::default(), store.clone())
            .await
            .expect("the control plane starts");
        Server { router: super::router(control, blobs.clone()), blobs, store }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.expect("a router does not fail");
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.expect("the body ends well");
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    async fn call(&self, method: &str, path: &str, token: &str, body: Option<Value>) -> Answer {
        let request =
            Request::builder().method(method).uri(path).header("authorization", format!("Bearer {token}"));
        let request = match body {
            Some(body) => {
                request.header("content-type", "application/json").body(Body::from(body.to_string()))
            }
            None => request.body(Body::empty()),
        };
        self.send(request.expect("the test's request is well-formed")).await
    }

    async fn read(&self, path: &str, token: &str) -> Answer {
        self.call("GET", path, token, None).await
    }

    /// A run that is in the store without having been planned.
    async fn stored_run(&self, number: u8, namespace: &str) -> RunId {
        let run = RunId(uuid::Uuid::from_bytes([number; 16]));
        let create = store::NewRun {
            namespace: namespace.to_owned(),
            workflow: "w".to_owned(),
            version: "1.0.0".to_owned(),
            labels: [("team".to_owned(), format!("t{}", number % 2))].into(),
            input: Bytes::from_static(b"{\"n\":1}"),
            parent: None,
            idempotency: None,
            at: Timestamp(i64::from(number)),
        };
        let turn = Turn { create: Some(create), ..Turn::of(run) };
        self.store.commit(vec![turn]).await.expect("the memory store takes it");
        run
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    bytes: Bytes,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.bytes)))
    }

    /// The problem's slug, after checking that the answer is a whole problem.
    fn problem(&self) -> String {
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["status"], self.status.as_u16());
        assert!(problem["title"].as_str().is_some_and(|title| !title.is_empty()));
        assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()));
        let kind = problem["type"].as_str().expect("a problem has a type");
        kind.strip_prefix("/problems/").expect("the type is a path of this server").to_owned()
    }
}
