//! Liveness, readiness, and what the server takes the caller for.

use axum::Json;
use axum::extract::State;

use super::Api;
use super::access::Caller;
use super::model::Version;
use super::problem::{Kind, Problem};

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "server", security(()), responses(
    (status = 200, description = "It answers", body = String)))]
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// Whether requests can be taken.
#[utoipa::path(get, path = "/readyz", tag = "server", security(()), responses(
    (status = 200, description = "It takes requests", body = String),
    (status = 503, description = "It does not; `detail` says why", body = Problem)))]
pub(super) async fn ready(State(api): State<Api>) -> Result<&'static str, Problem> {
    match api.control.ready() {
        Ok(()) => Ok("ready\n"),
        Err(why) => Err(Problem::new(Kind::Unavailable, why)),
    }
}

/// The server's version, and the role and namespaces of the caller's token.
#[utoipa::path(get, path = "/api/v1/version", tag = "server", responses(
    (status = 200, body = Version), (status = 401, body = Problem)))]
pub(super) async fn version(caller: Caller) -> Json<Version> {
    Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        token: caller.token_name,
        role: caller.access.role,
        namespaces: caller.access.namespaces,
    })
}
