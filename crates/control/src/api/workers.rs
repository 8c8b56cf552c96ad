//! `/api/v1/workers`: the fleet.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::Api;
use super::access::Caller;
use super::model::{Page, Role, Worker};
use super::problem::Problem;

/// Lists the enrolled workers by name.
#[utoipa::path(get, path = "/api/v1/workers", tag = "workers", responses(
    (status = 200, body = Page<Worker>), (status = 401, body = Problem)))]
pub(super) async fn list(State(api): State<Api>, caller: Caller) -> Result<Json<Page<Worker>>, Problem> {
    caller.require(Role::Viewer)?;
    let workers = api.control.workers().await?;
    Ok(Json(Page { items: workers.into_iter().map(Worker::from).collect(), next: None }))
}

/// Tells a worker to finish what it holds and to take no more.
#[utoipa::path(post, path = "/api/v1/workers/{name}/drain", tag = "workers",
    params(("name" = String, Path, description = "Name of the worker")), responses(
    (status = 204, description = "It was told"), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem)))]
pub(super) async fn drain(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require_whole_admin()?;
    api.control.drain(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a drained worker take steps again, from when it connects the next time.
#[utoipa::path(post, path = "/api/v1/workers/{name}/undrain", tag = "workers",
    params(("name" = String, Path, description = "Name of the worker")), responses(
    (status = 204, description = "It may take steps"), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem)))]
pub(super) async fn undrain(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require_whole_admin()?;
    api.control.undrain(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Takes a worker's credential away and closes its stream; what it holds is handed out again when its leases expire.
#[utoipa::path(delete, path = "/api/v1/workers/{name}", tag = "workers",
    params(("name" = String, Path, description = "Name of the worker")), responses(
    (status = 204, description = "It is removed"), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem)))]
pub(super) async fn remove(
    State(api): State<Api>,
    caller: Caller,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    caller.require_whole_admin()?;
    api.control.remove_worker(&name).await?;
    Ok(StatusCode::NO_CONTENT)
}
