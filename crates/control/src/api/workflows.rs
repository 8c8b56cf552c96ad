//! `/api/v1/workflows`: validate, publish, list, show.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use store::{VersionWanted, WorkflowCursor, WorkflowFilter};
use utoipa::IntoParams;

use super::Api;
use super::access::Caller;
use super::cursor;
use super::extract::{Body, Parameters};
use super::model::{Document, Page, Role, Validation, Workflow, WorkflowSummary};
use super::problem::{Finding, Kind, Problem};
use crate::UNPUBLISHED_NAMESPACE;

/// Says all that is to be said about a document. A refused document is a good answer: `valid` is false.
#[utoipa::path(post, path = "/api/v1/workflows/validate", tag = "workflows", request_body = Document, responses(
    (status = 200, body = Validation), (status = 400, body = Problem), (status = 401, body = Problem),
    (status = 413, body = Problem), (status = 415, body = Problem)))]
pub(super) async fn validate(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<Document>,
) -> Result<Json<Validation>, Problem> {
    caller.require(Role::Viewer)?;
    let diagnostics = api.control.validate(&request.document);
    let findings = diagnostics.iter().map(Finding::from).collect();
    Ok(Json(Validation { valid: !diagnostics.has_errors(), findings }))
}

/// Publishes a document under its namespace, name and version. A published version never changes; the same text again
/// is no error.
#[utoipa::path(post, path = "/api/v1/workflows", tag = "workflows", request_body = Document, responses(
    (status = 201, description = "Published; `Location` is the workflow", body = WorkflowSummary),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 403, body = Problem),
    (status = 409, description = "The version is there with another text", body = Problem),
    (status = 413, body = Problem), (status = 415, body = Problem),
    (status = 422, description = "The document is refused", body = Problem)))]
pub(super) async fn publish(
    State(api): State<Api>,
    caller: Caller,
    Body(request): Body<Document>,
) -> Result<impl IntoResponse, Problem> {
    caller.require(Role::Operator)?;
    let parsed = workflow::Workflow::parse(&request.document)
        .map_err(|_| Problem::document(&api.control.validate(&request.document)))?;
    caller.require_in(Role::Operator, &parsed.document.namespace)?;
    let published = api.control.publish(&request.document).await?;
    let location =
        format!("/api/v1/workflows/{}/{}/{}", published.namespace, published.name, published.version);
    let summary = WorkflowSummary {
        namespace: published.namespace,
        name: published.name,
        version: published.version,
        sha256: None,
        published: None,
        warnings: published.warnings.iter().map(Finding::from).collect(),
    };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(summary)))
}

/// Which workflows are listed.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    /// Only of this namespace.
    namespace: Option<String>,
    /// Only with this name; needs `namespace`.
    name: Option<String>,
    /// Rows of the page, 1 to 1000; 50 if absent.
    limit: Option<usize>,
    /// `next` of the page before.
    cursor: Option<String>,
}

/// Lists published workflows by namespace, name and version.
#[utoipa::path(get, path = "/api/v1/workflows", tag = "workflows", params(Filter), responses(
    (status = 200, body = Page<WorkflowSummary>), (status = 400, body = Problem),
    (status = 401, body = Problem), (status = 403, body = Problem)))]
pub(super) async fn list(
    State(api): State<Api>,
    caller: Caller,
    uri: Uri,
    Parameters(filter): Parameters<Filter>,
) -> Result<Response, Problem> {
    caller.require(Role::Viewer)?;
    let rows = cursor::rows(filter.limit)?;
    let after: Option<(String, String, String)> = cursor::decode(filter.cursor.as_deref())?;
    let after = after.map(|(namespace, name, version)| WorkflowCursor { namespace, name, version });
    let namespace = caller.list_namespace(filter.namespace)?;
    if filter.name.is_some() && namespace.is_none() {
        return Err(Problem::new(Kind::MalformedRequest, "`name` needs `namespace`"));
    }
    let wanted = WorkflowFilter { namespace, name: filter.name };
    let mut read = api.store.workflows(&wanted, after.as_ref(), rows + 1).await?;
    // They sort after every namespace, so nothing follows them.
    read.retain(|workflow| workflow.name.namespace != UNPUBLISHED_NAMESPACE);
    Ok(cursor::respond::<_, WorkflowSummary, _>(&uri, read, rows, |workflow| {
        (workflow.name.namespace.clone(), workflow.name.name.clone(), workflow.name.version.clone())
    }))
}

impl From<store::Workflow> for WorkflowSummary {
    fn from(workflow: store::Workflow) -> Self {
        WorkflowSummary::from(&workflow)
    }
}

/// Shows a published workflow with its document. The version `latest` is the one with the highest precedence.
#[utoipa::path(get, path = "/api/v1/workflows/{namespace}/{name}/{version}", tag = "workflows",
    params(("namespace" = String, Path, description = "Namespace"), ("name" = String, Path, description = "Name"),
        ("version" = String, Path, description = "Version, or `latest`")),
    responses((status = 200, body = Workflow), (status = 401, body = Problem), (status = 404, body = Problem)))]
pub(super) async fn show(
    State(api): State<Api>,
    caller: Caller,
    Path((namespace, name, version)): Path<(String, String, String)>,
) -> Result<Json<Workflow>, Problem> {
    caller.require(Role::Viewer)?;
    let missing = || Problem::not_found(format_args!("workflow {namespace}/{name} version {version}"));
    if !caller.sees(&namespace) || namespace == UNPUBLISHED_NAMESPACE {
        return Err(missing());
    }
    let wanted = if version == "latest" { VersionWanted::Latest } else { VersionWanted::Exactly(&version) };
    let found = api.store.workflow(&namespace, &name, wanted).await?.ok_or_else(missing)?;
    Ok(Json(Workflow { summary: WorkflowSummary::from(&found), document: found.source }))
}
