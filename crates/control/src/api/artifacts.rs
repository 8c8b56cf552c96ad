//! `/api/v1/runs/{id}/artifacts`: the files that the steps of a run gave back.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use protocol::id::RunId;
use serde::Deserialize;
use store::StoreError;
use store::blob::{BlobError, BlobId};
use utoipa::IntoParams;

use super::Api;
use super::access::Caller;
use super::extract::{Parameters, RunPath};
use super::limits::{MAX_PAGE_ROWS, RUN_ARTIFACT_ROWS};
use super::model::{ArtifactEntry, Page};
use super::problem::{Kind, Problem};
use super::runs::readable_summary;

/// Lists the files that the steps of a run gave back, in the order of the steps.
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts", tag = "runs",
    params(("id" = String, Path, description = "Id of the run")), responses(
    (status = 200, body = Page<ArtifactEntry>), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Json<Page<ArtifactEntry>>, Problem> {
    readable_summary(&api, &caller, id).await?;
    Ok(Json(Page { items: entries(&api, id).await?, next: None }))
}

async fn entries(api: &Api, id: RunId) -> Result<Vec<ArtifactEntry>, Problem> {
    let mut entries = Vec::new();
    let mut after = None;
    loop {
        let steps = api.store.steps(id, after, MAX_PAGE_ROWS).await?;
        after = steps.last().map(|step| step.step);
        let more = steps.len() == MAX_PAGE_ROWS;
        for step in steps {
            entries.extend(step.artifacts.into_iter().map(|artifact| ArtifactEntry {
                step: step.step.0,
                task: step.name.clone(),
                path: artifact.path,
                size: artifact.size,
                sha256: artifact.sha256,
            }));
        }
        if !more || entries.len() >= RUN_ARTIFACT_ROWS {
            entries.truncate(RUN_ARTIFACT_ROWS);
            return Ok(entries);
        }
    }
}

/// Which file is fetched: exactly one of `path` and `sha256`.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Path below /workspace; where several steps gave it, the last one's.
    path: Option<String>,
    /// Lower-case hex SHA-256 of the content.
    sha256: Option<String>,
    /// Only of this step.
    step: Option<u32>,
}

/// Fetches a file. `ETag` is its SHA-256; `If-None-Match` is honoured.
#[utoipa::path(get, path = "/api/v1/runs/{id}/artifacts/content", tag = "runs",
    params(("id" = String, Path, description = "Id of the run"), Wanted,
        ("If-None-Match" = Option<String>, Header, description = "ETag of the copy the client has")),
    responses((status = 200, description = "The bytes", body = Vec<u8>, content_type = "application/octet-stream"),
    (status = 304, description = "The client has it"), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn fetch(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
    headers: HeaderMap,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    readable_summary(&api, &caller, id).await?;
    if wanted.path.is_some() == wanted.sha256.is_some() {
        return Err(Problem::new(Kind::MalformedRequest, "give one of `path` and `sha256`"));
    }
    let named = |entry: &ArtifactEntry| {
        wanted.step.is_none_or(|step| entry.step == step)
            && wanted.path.as_ref().is_none_or(|path| entry.path == *path)
            && wanted.sha256.as_ref().is_none_or(|sha256| entry.sha256 == *sha256)
    };
    let entry = entries(&api, id).await?.into_iter().rev().find(named).ok_or_else(|| {
        Problem::new(Kind::NotFound, format!("run {id} has no such artifact"))
            .hint(format!("sagewai runs artifacts {id} lists them"))
    })?;
    let etag = format!("\"{}\"", entry.sha256);
    if matches(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    let blob: BlobId = entry.sha256.parse().map_err(|error| super::refusal::internal(&error))?;
    let reader = api.blobs.reader(blob).await.map_err(StoreError::from)?;
    let content = stream::try_unfold(reader, async |mut reader| {
        Ok::<_, BlobError>(reader.next().await?.map(|part| (part, reader)))
    });
    let body = Body::from_stream(content);
    let fields = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")),
        (header::CONTENT_LENGTH, HeaderValue::from(entry.size)),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (header::ETAG, HeaderValue::from_str(&etag).map_err(|error| super::refusal::internal(&error))?),
    ];
    Ok((fields, body).into_response())
}

fn matches(headers: &HeaderMap, etag: &str) -> bool {
    let given = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    given.is_some_and(|given| {
        given.split(',').any(|one| matches!(one.trim(), "*") || one.trim().trim_start_matches("W/") == etag)
    })
}
