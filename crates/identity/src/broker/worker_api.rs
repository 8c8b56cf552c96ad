//! The worker API: HTTP on TCP. `protocol::broker` is its contract.
//!
//! | Request | Answer |
//! |---|---|
//! | `POST /v1/open`, bearer worker token, `OpenRequest` | 200 `OpenResponse` |
//! | `POST /v1/keep`, bearer worker token, `KeepRequest` | 200 `KeepResponse` |
//! | `POST /v1/release`, bearer worker token, `ReleaseRequest` | 204 |
//! | `GET /healthz` | 200 `ok` |
//!
//! Any refusal is `application/problem+json` with the codes of [`super::problem::Refusal`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::routing::{get, post};
use axum::{Json, middleware};
use protocol::broker::{KeepResponse, OpenResponse};
use seal::JwsError;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::core::Broker;
use super::problem::Refusal;
use super::serve::now_ms;

/// Longest request body, bytes.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024;
/// Most requests at once; more are answered "busy".
pub(crate) const MAX_REQUESTS: usize = 512;
/// Longest wait for a request's body, seconds.
pub(crate) const BODY_SECONDS: u64 = 10;

pub(crate) fn router(broker: Arc<Broker>) -> Router {
    let slots = Arc::new(Semaphore::new(MAX_REQUESTS));
    Router::new()
        .route("/v1/open", post(open))
        .route("/v1/keep", post(keep))
        .route("/v1/release", post(release))
        .layer(middleware::from_fn(move |request: Request, next: middleware::Next| {
            let slots = slots.clone();
            async move {
                let _slot = slots.try_acquire_owned().map_err(|_| Refusal::Busy)?;
                Ok::<_, Refusal>(next.run(request).await)
            }
        }))
        .route("/healthz", get(async || "ok"))
        .with_state(broker)
}

async fn open(State(broker): State<Arc<Broker>>, request: Request) -> Result<Json<OpenResponse>, Refusal> {
    let (token, body) = read(request).await?;
    let answer = broker.open(&token, &body, now_ms() / 1000).await;
    log("open", answer.as_ref().err());
    answer.map(Json)
}

async fn keep(State(broker): State<Arc<Broker>>, request: Request) -> Result<Json<KeepResponse>, Refusal> {
    let (token, body) = read(request).await?;
    let answer = broker.keep(&token, &body, now_ms() / 1000).await;
    log("keep", answer.as_ref().err());
    answer.map(Json)
}

async fn release(State(broker): State<Arc<Broker>>, request: Request) -> Result<StatusCode, Refusal> {
    let (token, body) = read(request).await?;
    let answer = broker.release(&token, &body, now_ms() / 1000).await;
    log("release", answer.as_ref().err());
    answer.map(|()| StatusCode::NO_CONTENT)
}

async fn read<T: DeserializeOwned>(request: Request) -> Result<(String, T), Refusal> {
    let header = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = header.and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned);
    let token = token.ok_or(Refusal::WorkerToken(JwsError::Malformed("there is no bearer token").into()))?;
    let body =
        timeout(Duration::from_secs(BODY_SECONDS), to_bytes(request.into_body(), MAX_BODY_BYTES)).await;
    let body = body.map_err(|_| Refusal::Malformed("its body did not arrive within 10 s"))?;
    let body = body.map_err(|_| Refusal::Malformed("its body is longer than 32 KiB or broke off"))?;
    let body = serde_json::from_slice(&body)
        .map_err(|_| Refusal::Malformed("its body is not the JSON of this route"))?;
    Ok((token, body))
}

fn log(route: &'static str, refusal: Option<&Refusal>) {
    match refusal {
        None => tracing::debug!(route, "answered"),
        Some(refusal) => tracing::warn!(route, code = refusal.code(), detail = %refusal, "refused"),
    }
}
