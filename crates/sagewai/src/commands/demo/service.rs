//! The service that the demo's steps talk to: a plan for everybody, revenue and a sign-off for who has the token.

use std::net::SocketAddr;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::{get, post};
use axum::{Router, body::Bytes};
use tokio::net::TcpListener;
use zeroize::Zeroizing;

/// What the handlers know.
#[derive(Clone)]
struct Service {
    address: SocketAddr,
    token: std::sync::Arc<Zeroizing<String>>,
}

/// Serves until the task is dropped; `token` is the one credential that it accepts.
pub(super) async fn serve(listener: TcpListener, token: Zeroizing<String>) -> std::io::Result<()> {
    let service = Service { address: listener.local_addr()?, token: token.into() };
    let routes = Router::new()
        .route("/plan", get(plan))
        .route("/revenue", get(revenue))
        .route("/sign-off", post(sign_off))
        .with_state(service);
    axum::serve(listener, routes).await
}

async fn plan(State(service): State<Service>) -> Bytes {
    let plan = serde_json::json!({
        "week": "2026-W47",
        "service": format!("http://{}", service.address),
        "orders": [120, 75, 310, 42, 98, 187],
    });
    plan.to_string().into()
}

async fn revenue(State(service): State<Service>, headers: HeaderMap) -> Result<Bytes, StatusCode> {
    service.admit(&headers)?;
    Ok(serde_json::json!({ "revenue": 83_211, "currency": "EUR" }).to_string().into())
}

async fn sign_off(State(service): State<Service>, headers: HeaderMap) -> Result<Bytes, StatusCode> {
    service.admit(&headers)?;
    Ok(serde_json::json!({ "signed": "the reporting desk" }).to_string().into())
}

impl Service {
    fn admit(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let expected = Zeroizing::new(format!("Bearer {}", self.token.as_str()));
        let given = headers.get("authorization").map(|value| value.as_bytes());
        if given == Some(expected.as_bytes()) { Ok(()) } else { Err(StatusCode::UNAUTHORIZED) }
    }
}
