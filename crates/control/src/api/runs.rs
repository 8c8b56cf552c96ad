//! `/api/v1/runs`: list, show, history, and what people decide about a run.

use axum::Json;
use axum::extract::State;
use axum::http::Uri;
use axum::response::Response;
use bytes::Bytes;
use protocol::id::RunId;
use serde::Deserialize;
use serde_json::Value;
use store::{RunFilter, RunPage};
use utoipa::IntoParams;

use super::Api;
use super::access::Caller;
use super::cursor::{self, Paging};
use super::extract::{Parameters, RunPath, run_id};
use super::limits::RUN_STEP_ROWS;
use super::model::{HistoryEntry, Page, Role, Run, RunState, RunSummary};
use super::problem::{Kind, Problem};
use super::steps;
use crate::ControlError;

/// Which runs are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only of this namespace.
    namespace: Option<String>,
    /// Only of this workflow; needs `namespace`.
    workflow: Option<String>,
    /// Only in this state.
    state: Option<RunState>,
    /// Only with this label, `key=value`.
    label: Option<String>,
    /// Only those started by this run.
    parent: Option<String>,
    /// Rows of the page, 1 to 1000; 50 if absent.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Lists runs, the newest first.
#[utoipa::path(get, path = "/api/v1/runs", tag = "runs", params(Filter), responses(
    (status = 200, body = Page<RunSummary>), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    uri: Uri,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let rows = cursor::rows(filter.limit)?;
    let before: Option<RunId> = cursor::decode(filter.cursor.as_deref())?;
    let namespace = caller.list_namespace(filter.namespace)?;
    if filter.workflow.is_some() && namespace.is_none() {
        return Err(Problem::new(Kind::MalformedRequest, "`workflow` needs `namespace`"));
    }
    let wanted = RunFilter {
        namespace,
        workflow: filter.workflow,
        status: filter.state.map(Into::into),
        label: filter.label.as_deref().map(label).transpose()?,
        parent: filter.parent.as_deref().map(run_id).transpose()?,
    };
    let read = api.store.runs(&wanted, before, rows + 1).await?;
    Ok(cursor::respond::<_, RunSummary, _>(&uri, read, rows, |run| run.run))
}

fn label(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => {
            Err(Problem::new(Kind::MalformedRequest, format!("label `{text}` is not of the form key=value")))
        }
    }
}

/// Shows a run with its values and its first steps.
#[utoipa::path(get, path = "/api/v1/runs/{id}", tag = "runs", params(("id" = String, Path, description = "Id of the run")),
    responses((status = 200, body = Run), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Json<Run>, Problem> {
    caller.require(Role::Viewer)?;
    let run = read(&api, id).await?;
    if !caller.sees(&run.summary.namespace) {
        return Err(no_such_run(id));
    }
    Ok(Json(run))
}

/// A run as it is now. The caller has been checked.
pub(super) async fn read(api: &Api, id: RunId) -> Result<Run, Problem> {
    let found = api.store.run_page(id, RUN_STEP_ROWS + 1).await?.ok_or_else(|| no_such_run(id))?;
    let RunPage { summary, values, steps } = found;
    let (steps, more_steps) = steps::shown(api, steps, RUN_STEP_ROWS);
    Ok(Run {
        summary: summary.into(),
        input: json(&values.input),
        output: values.output.as_ref().map(json),
        error: values.error.as_ref().map(json),
        steps,
        more_steps,
    })
}

fn json(text: &Bytes) -> Value {
    serde_json::from_slice(text).unwrap_or_else(|_| Value::String(String::from_utf8_lossy(text).into_owned()))
}

/// Reads a run's history, from the first event on.
#[utoipa::path(get, path = "/api/v1/runs/{id}/history", tag = "runs",
    params(("id" = String, Path, description = "Id of the run"), Paging), responses(
    (status = 200, body = Page<HistoryEntry>), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn history(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
    uri: Uri,
    Parameters(paging): Parameters<Paging>,
) -> Result<Response, Problem> {
    readable_summary(&api, &caller, id).await?;
    let rows = cursor::rows(paging.limit)?;
    let after: u64 = cursor::decode(paging.cursor.as_deref())?.unwrap_or(0);
    let read = api.store.history(id, after, rows + 1).await?;
    Ok(cursor::respond::<_, HistoryEntry, _>(&uri, read, rows, |entry| entry.number))
}

impl From<store::HistoryEntry> for HistoryEntry {
    fn from(entry: store::HistoryEntry) -> Self {
        HistoryEntry {
            number: entry.number,
            time: entry.at.into(),
            event: json(&entry.event),
            notes: if entry.notes.is_empty() { Value::Null } else { json(&entry.notes) },
        }
    }
}

/// Ends a run; its running steps are told to stop.
#[utoipa::path(post, path = "/api/v1/runs/{id}/cancel", tag = "runs",
    params(("id" = String, Path, description = "Id of the run")), responses(
    (status = 200, body = RunSummary), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It has ended", body = Problem)))]
pub(super) async fn cancel(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Json<RunSummary>, Problem> {
    let summary = operable(&api, &caller, id).await?;
    api.control.cancel(id).await.map_err(|error| refused(error, &summary, "cancelled"))?;
    Ok(Json(readable_summary(&api, &caller, id).await?.into()))
}

/// Holds a run: no further step starts; running ones go on to their end.
#[utoipa::path(post, path = "/api/v1/runs/{id}/suspend", tag = "runs",
    params(("id" = String, Path, description = "Id of the run")), responses(
    (status = 200, body = RunSummary), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "Its state does not allow it", body = Problem)))]
pub(super) async fn suspend(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Json<RunSummary>, Problem> {
    let summary = operable(&api, &caller, id).await?;
    api.control.suspend(id).await.map_err(|error| refused(error, &summary, "suspended"))?;
    Ok(Json(readable_summary(&api, &caller, id).await?.into()))
}

/// Goes on with a suspended run.
#[utoipa::path(post, path = "/api/v1/runs/{id}/resume", tag = "runs",
    params(("id" = String, Path, description = "Id of the run")), responses(
    (status = 200, body = RunSummary), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It is not suspended", body = Problem)))]
pub(super) async fn resume(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Json<RunSummary>, Problem> {
    let summary = operable(&api, &caller, id).await?;
    api.control.resume(id).await.map_err(|error| refused(error, &summary, "resumed"))?;
    Ok(Json(readable_summary(&api, &caller, id).await?.into()))
}

/// Goes on with a faulted run from the task that failed.
#[utoipa::path(post, path = "/api/v1/runs/{id}/retry", tag = "runs",
    params(("id" = String, Path, description = "Id of the run")), responses(
    (status = 200, body = RunSummary), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 404, body = Problem), (status = 409, description = "It has not faulted", body = Problem)))]
pub(super) async fn retry(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Json<RunSummary>, Problem> {
    let summary = operable(&api, &caller, id).await?;
    api.control.retry(id).await.map_err(|error| refused(error, &summary, "retried"))?;
    Ok(Json(readable_summary(&api, &caller, id).await?.into()))
}

/// The run, if the caller may read it; a run of another namespace does not exist for the caller.
pub(super) async fn readable_summary(
    api: &Api,
    caller: &Caller,
    id: RunId,
) -> Result<store::RunSummary, Problem> {
    caller.require(Role::Viewer)?;
    match api.store.run_summary(id).await? {
        Some(summary) if caller.sees(&summary.namespace) => Ok(summary),
        _ => Err(no_such_run(id)),
    }
}

fn no_such_run(id: RunId) -> Problem {
    Problem::not_found(format_args!("run {id}")).hint("sagewai runs list shows the runs")
}

async fn operable(api: &Api, caller: &Caller, id: RunId) -> Result<store::RunSummary, Problem> {
    let summary = readable_summary(api, caller, id).await?;
    caller.require_in(Role::Operator, &summary.namespace)?;
    Ok(summary)
}

/// A decision that the run's state does not allow, in words of the API.
fn refused(error: ControlError, summary: &store::RunSummary, decision: &str) -> Problem {
    match error {
        ControlError::Conflict(_) => {
            let detail = format!("run {} is {}: it cannot be {decision}", summary.run, summary.status.name());
            Problem::new(Kind::Conflict, detail).hint(format!("its state: sagewai runs show {}", summary.run))
        }
        other => other.into(),
    }
}
