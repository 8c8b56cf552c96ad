//! `/api/v1/runs/{id}/steps`: the steps of a run, with the reason why one waits.

use axum::Json;
use axum::extract::State;
use axum::http::{Uri, header};
use axum::response::{IntoResponse, Response};
use protocol::id::{RunId, StepId};

use super::Api;
use super::access::Caller;
use super::cursor::{self, Paging};
use super::extract::{Parameters, RunPath};
use super::model::{Page, Step};
use super::problem::Problem;
use super::runs::readable_summary;

/// Lists the steps of a run in the order in which they were planned.
#[utoipa::path(get, path = "/api/v1/runs/{id}/steps", tag = "runs",
    params(("id" = String, Path, description = "Id of the run"), Paging), responses(
    (status = 200, body = Page<Step>), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
    uri: Uri,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    readable_summary(&api, &caller, id).await?;
    let rows = cursor::rows(paging.limit)?;
    let after: Option<StepId> = cursor::decode(paging.cursor.as_deref())?;
    let (items, next) = page(&api, id, after, rows).await?;
    let link = next.as_deref().and_then(|next| cursor::link(&uri, next));
    let mut response = Json(Page { items, next }).into_response();
    if let Some(link) = link {
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// One page of steps, and the cursor of the next.
pub(super) async fn page(
    api: &Api,
    run: RunId,
    after: Option<StepId>,
    rows: usize,
) -> Result<(Vec<Step>, Option<String>), Problem> {
    Ok(shown(api, api.store.steps(run, after, rows + 1).await?, rows))
}

/// The first `rows` of the steps that were read, and the cursor of the next page, if more were read.
pub(super) fn shown(api: &Api, mut read: Vec<store::Step>, rows: usize) -> (Vec<Step>, Option<String>) {
    let more = read.len() > rows;
    read.truncate(rows);
    let next = if more { read.last().map(|step| cursor::encode(&step.step)) } else { None };
    let steps = read.into_iter().map(|row| {
        let waiting =
            if row.state == store::StepState::Ready { api.control.waiting_reason(&row.class) } else { None };
        Step { waiting, ..Step::from(row) }
    });
    (steps.collect(), next)
}
