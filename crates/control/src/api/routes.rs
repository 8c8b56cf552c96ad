//! The whole API as one router, with its OpenAPI document.

use std::sync::Arc;

use axum::Router;
use axum::middleware;
use axum::routing::get;
use store::Store;
use store::blob::Blobs;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::known::KnownCallers;
use super::limits::{self, STREAM_LIMIT};
use super::{
    artifacts, events, health, join_tokens, logs, metrics, openapi, problem, runs, steps, submit, tokens,
    workers, workflows,
};
use crate::Control;

/// What the handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct Api {
    pub(super) control: Control,
    pub(super) store: Arc<dyn Store>,
    pub(super) blobs: Blobs,
    pub(super) callers: Arc<KnownCallers>,
    /// One permit per open stream.
    pub(super) streams: Arc<Semaphore>,
}

/// The REST API, `/healthz`, `/readyz` and `/metrics`; `blobs` is where artifacts are. The gRPC service of the workers may be merged into it.
pub fn router(control: Control, blobs: Blobs) -> Router {
    let store = control.store().clone();
    let api = Api {
        control,
        store,
        blobs,
        callers: Arc::default(),
        streams: Arc::new(Semaphore::new(STREAM_LIMIT)),
    };
    let (router, document) = documented().split_for_parts();
    let document = openapi::render(&document);
    router
        .route("/api/v1/openapi.json", get(move || openapi::serve(document.clone())))
        .route("/problems/{slug}", get(problem::documentation))
        .method_not_allowed_fallback(problem::unknown_method)
        .fallback(problem::unknown_path)
        .layer(middleware::from_fn(limits::check))
        .with_state(api)
}

/// Every documented route.
pub(super) fn documented() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(submit::submit, runs::list))
        .routes(routes!(runs::show))
        .routes(routes!(runs::history))
        .routes(routes!(runs::cancel))
        .routes(routes!(runs::suspend))
        .routes(routes!(runs::resume))
        .routes(routes!(runs::retry))
        .routes(routes!(steps::list))
        .routes(routes!(events::stream))
        .routes(routes!(logs::read))
        .routes(routes!(artifacts::list))
        .routes(routes!(artifacts::fetch))
        .routes(routes!(workflows::validate))
        .routes(routes!(workflows::publish, workflows::list))
        .routes(routes!(workflows::show))
        .routes(routes!(workers::list))
        .routes(routes!(workers::drain))
        .routes(routes!(workers::undrain))
        .routes(routes!(workers::remove))
        .routes(routes!(join_tokens::create, join_tokens::list))
        .routes(routes!(join_tokens::revoke))
        .routes(routes!(tokens::create, tokens::list))
        .routes(routes!(tokens::revoke))
        .routes(routes!(health::version))
        .routes(routes!(health::alive))
        .routes(routes!(health::ready))
        .routes(routes!(metrics::render))
}
