//! `POST /api/v1/runs`: a run from a document or from a published workflow.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Api;
use super::access::Caller;
use super::extract::Body;
use super::limits::{IDEMPOTENCY_KEY_LIMIT_CHARACTERS, RUN_LABEL_LIMIT, RUN_LABEL_LIMIT_BYTES};
use super::model::{OWN_LABELS, Role, RunSummary, SubmitRun};
use super::problem::{Kind, Problem};
use super::runs::{read, readable_summary};
use super::wait;
use crate::submit::Accepted;
use crate::{NewRun, Source};

/// Submits a run. It is stored when this answers. The same `Idempotency-Key` with the same request gives the same run.
/// With `Prefer: wait=SECONDS` (RFC 7240) the answer comes when the run has ended, with its output or error, or after
/// that time as without; `Preference-Applied` tells the two apart.
#[utoipa::path(post, path = "/api/v1/runs", tag = "runs", request_body = SubmitRun,
    params(("Idempotency-Key" = Option<String>, Header, description = "Up to 255 visible characters, of the client's choice"),
        ("Prefer" = Option<String>, Header, description = "`wait=SECONDS`: answer when the run has ended, as a Run")),
    responses(
        (status = 201, description = "Accepted; `Location` is the run", body = RunSummary),
        (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
        (status = 404, description = "No such published workflow", body = Problem),
        (status = 413, body = Problem), (status = 415, body = Problem),
        (status = 422, description = "The document is refused, or the key was used for another request", body = Problem),
        (status = 503, body = Problem)))]
pub(super) async fn submit(
    State(api): State<Api>,
    caller: Caller,
    headers: HeaderMap,
    Body(request): Body<SubmitRun>,
) -> Result<Response, Problem> {
    caller.require(Role::Operator)?;
    let preference = wait::preference(&headers);
    let idempotency_key = idempotency_key(&headers)?;
    let run = new_run(&caller, request, idempotency_key)?;
    let Accepted { run: id, summary, end } = api.control.accept(run, preference.is_some()).await?;
    let location = [(header::LOCATION, format!("/api/v1/runs/{id}"))];
    if let Some(limit) = preference
        && wait::until_ended(&api, id, end, limit).await?
    {
        let applied = [("preference-applied", format!("wait={}", limit.as_secs()))];
        return Ok((StatusCode::CREATED, location, applied, Json(read(&api, id).await?)).into_response());
    }
    let summary = match summary {
        // Of its first commit: what came after may have changed it.
        Some(summary) if preference.is_none() => summary,
        _ => readable_summary(&api, &caller, id).await?,
    };
    let summary = RunSummary::from(summary);
    Ok((StatusCode::CREATED, location, Json(summary)).into_response())
}

fn new_run(caller: &Caller, request: SubmitRun, idempotency_key: Option<String>) -> Result<NewRun, Problem> {
    check_labels(&request)?;
    let SubmitRun { document, workflow, namespace, input, labels } = request;
    let (source, namespace) = match (document, workflow) {
        (Some(text), None) => (Source::Document(text), caller.list_namespace(namespace)?),
        (None, Some(reference)) => {
            if namespace.is_some_and(|namespace| namespace != reference.namespace) {
                let detail = "`namespace` and `workflow.namespace` differ";
                return Err(Problem::new(Kind::MalformedRequest, detail).hint("leave `namespace` out"));
            }
            (
                Source::Published { name: reference.name, version: reference.version },
                Some(reference.namespace),
            )
        }
        (None, None) => {
            return Err(Problem::new(
                Kind::MalformedRequest,
                "the request has neither `document` nor `workflow`",
            )
            .hint("give one of them"));
        }
        (Some(_), Some(_)) => {
            return Err(Problem::new(
                Kind::MalformedRequest,
                "the request has both `document` and `workflow`",
            )
            .hint("give one of them"));
        }
    };
    if let Some(namespace) = &namespace {
        caller.require_in(Role::Operator, namespace)?;
    }
    Ok(NewRun { namespace, source, input, idempotency_key, labels })
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= IDEMPOTENCY_KEY_LIMIT_CHARACTERS => {
            Ok(Some(key.to_owned()))
        }
        _ => {
            let detail = format!(
                "Idempotency-Key is 1 to {IDEMPOTENCY_KEY_LIMIT_CHARACTERS} visible ASCII characters"
            );
            Err(Problem::new(Kind::MalformedRequest, detail))
        }
    }
}

fn check_labels(request: &SubmitRun) -> Result<(), Problem> {
    if request.labels.len() > RUN_LABEL_LIMIT {
        let detail = format!("{} labels; a run has at most {RUN_LABEL_LIMIT}", request.labels.len());
        return Err(Problem::new(Kind::MalformedRequest, detail));
    }
    for (key, value) in &request.labels {
        if key.starts_with(OWN_LABELS) {
            let detail =
                format!("label `{key}`: labels that begin with `{OWN_LABELS}` are the platform's own");
            return Err(Problem::new(Kind::MalformedRequest, detail));
        }
        if key.is_empty() || key.len() > RUN_LABEL_LIMIT_BYTES || value.len() > RUN_LABEL_LIMIT_BYTES {
            let detail = format!(
                "label `{key}`: key and value have at most {RUN_LABEL_LIMIT_BYTES} bytes, a key at least 1"
            );
            return Err(Problem::new(Kind::MalformedRequest, detail));
        }
    }
    Ok(())
}
