//! Every error of the API as a problem (RFC 9457), and the list of their types.
//!
//! `type` is the path of a page that this server serves ([`documentation`]), so that a problem explains itself.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The kinds of problem. A client may act on them: they are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request cannot be read: malformed JSON, a missing or wrong parameter.
    MalformedRequest,
    /// The workflow document is refused; `errors` names the places.
    InvalidDocument,
    /// No token, or one that is unknown, expired or revoked.
    Unauthenticated,
    /// The token's role or namespaces do not allow it.
    Forbidden,
    /// There is nothing of that name, or the token may not see it.
    NotFound,
    /// The path exists, the method does not.
    MethodNotAllowed,
    /// The state of the resource does not allow it.
    Conflict,
    /// The `Idempotency-Key` was used for another request.
    IdempotencyMismatch,
    /// The body is larger than the limit.
    PayloadTooLarge,
    /// The header fields are larger than the limit.
    HeadersTooLarge,
    /// The body is not JSON by its `Content-Type`.
    UnsupportedMediaType,
    /// A limit is reached; try again later.
    Overloaded,
    /// The server cannot do its work now, for instance because its store does not answer.
    Unavailable,
    /// The server's disk is full.
    StorageFull,
    /// A fault of the server; its log has the cause.
    Internal,
}

impl Kind {
    /// Every kind, in the order of the documentation.
    pub const ALL: [Kind; 15] = [
        Kind::MalformedRequest,
        Kind::InvalidDocument,
        Kind::Unauthenticated,
        Kind::Forbidden,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::Conflict,
        Kind::IdempotencyMismatch,
        Kind::PayloadTooLarge,
        Kind::HeadersTooLarge,
        Kind::UnsupportedMediaType,
        Kind::Overloaded,
        Kind::Unavailable,
        Kind::StorageFull,
        Kind::Internal,
    ];

    /// Last part of the `type` path.
    pub fn slug(self) -> &'static str {
        self.facts().0
    }

    /// HTTP status of the response.
    pub fn status(self) -> StatusCode {
        self.facts().1
    }

    /// The kind of a `type` path, as [`Problem::kind`] carries it.
    pub fn of(path: &str) -> Option<Kind> {
        let slug = path.strip_prefix(TYPE_PREFIX)?;
        Kind::ALL.into_iter().find(|kind| kind.slug() == slug)
    }

    fn title(self) -> &'static str {
        self.facts().2
    }

    fn explanation(self) -> &'static str {
        self.facts().3
    }

    fn facts(self) -> (&'static str, StatusCode, &'static str, &'static str) {
        match self {
            Kind::MalformedRequest => (
                "malformed-request",
                StatusCode::BAD_REQUEST,
                "The request cannot be read",
                "A body that is not the JSON this path takes, or a parameter that is missing or of the wrong form. \
                 `detail` names the place; /api/v1/openapi.json has the shapes.",
            ),
            Kind::InvalidDocument => (
                "invalid-document",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The workflow document is refused",
                "`errors` lists each finding with its JSON pointer, line and column and what to do. The same check \
                 runs without a server: sagewai workflow validate FILE.",
            ),
            Kind::Unauthenticated => (
                "unauthenticated",
                StatusCode::UNAUTHORIZED,
                "No valid token",
                "Send `Authorization: Bearer TOKEN`. A token is made with `sagewai token create`; one that expired or \
                 was revoked does not come back.",
            ),
            Kind::Forbidden => (
                "forbidden",
                StatusCode::FORBIDDEN,
                "The token may not do this",
                "Roles are viewer (read), operator (read, submit, control runs, publish) and admin (all); a token may \
                 be bound to namespaces. Ask an admin for a token that allows it.",
            ),
            Kind::NotFound => (
                "not-found",
                StatusCode::NOT_FOUND,
                "Not found",
                "There is nothing here, or it is in a namespace that the token may not see.",
            ),
            Kind::MethodNotAllowed => (
                "method-not-allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The path does not take this method",
                "`Allow` lists the methods it takes.",
            ),
            Kind::Conflict => (
                "conflict",
                StatusCode::CONFLICT,
                "The state does not allow it",
                "For instance a run that has ended cannot be cancelled, or a published version cannot be replaced. \
                 Read the resource, then decide.",
            ),
            Kind::IdempotencyMismatch => (
                "idempotency-mismatch",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The Idempotency-Key was used for another request",
                "A key stands for one request. Use a new key for a new request; repeat the old one unchanged to get \
                 its answer.",
            ),
            Kind::PayloadTooLarge => (
                "payload-too-large",
                StatusCode::PAYLOAD_TOO_LARGE,
                "The body is too large",
                "`detail` has the limit. Large data belongs in artifacts or in a store of your own.",
            ),
            Kind::HeadersTooLarge => (
                "headers-too-large",
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The header fields are too large",
                "`detail` has the limit.",
            ),
            Kind::UnsupportedMediaType => (
                "unsupported-media-type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body's type is not supported",
                "Send JSON with `Content-Type: application/json`.",
            ),
            Kind::Overloaded => (
                "overloaded",
                StatusCode::TOO_MANY_REQUESTS,
                "A limit is reached",
                "Try again after the seconds of `Retry-After`.",
            ),
            Kind::Unavailable => (
                "unavailable",
                StatusCode::SERVICE_UNAVAILABLE,
                "The server cannot work now",
                "Its store does not answer. What was acknowledged is kept. Try again; /readyz says when.",
            ),
            Kind::StorageFull => (
                "storage-full",
                StatusCode::INSUFFICIENT_STORAGE,
                "The server's disk is full",
                "What was acknowledged is kept, and nothing new can be stored. Free some space in the server's data folder, \
                 for instance by keeping fewer runs (`server.keep-runs`), then try again.",
            ),
            Kind::Internal => (
                "internal",
                StatusCode::INTERNAL_SERVER_ERROR,
                "A fault of the server",
                "The server's log has the cause.",
            ),
        }
    }
}

/// Where the pages of the problem types are.
pub const TYPE_PREFIX: &str = "/problems/";

/// Seconds a client waits before it tries again, where it should.
const RETRY_AFTER_SECONDS: u64 = 1;

/// A problem as it travels (`application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Path of the page that explains this kind of problem, such as `/problems/not-found`.
    #[serde(rename = "type")]
    pub kind: String,
    /// A short sentence on the kind.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here.
    pub detail: String,
    /// What to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub hint: Option<Box<str>>,
    /// Findings about a document or a body, in the order of their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Finding>,
}

/// One finding about a document, or about the body of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// `error` refuses the document, `warning` does not.
    pub severity: String,
    /// Stable name of the rule, such as `unknown-key`.
    pub code: String,
    /// What is wrong, without the place.
    pub detail: String,
    /// JSON pointer (RFC 6901) into the document; empty for the whole.
    pub pointer: String,
    /// Line, from 1; 0 when unknown.
    #[serde(default)]
    pub line: u32,
    /// Column in characters, from 1; 0 when unknown.
    #[serde(default)]
    pub column: u32,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl From<&workflow::Diagnostic> for Finding {
    fn from(diagnostic: &workflow::Diagnostic) -> Self {
        let severity = match diagnostic.severity {
            workflow::Severity::Error => "error",
            workflow::Severity::Warning => "warning",
        };
        Finding {
            severity: severity.to_owned(),
            code: diagnostic.code.to_owned(),
            detail: diagnostic.message.clone(),
            pointer: diagnostic.pointer.clone(),
            line: diagnostic.line,
            column: diagnostic.column,
            help: diagnostic.help.clone(),
        }
    }
}

impl Problem {
    /// A problem of `kind`; `detail` says what happened here.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Problem {
            kind: format!("{TYPE_PREFIX}{}", kind.slug()),
            title: kind.title().to_owned(),
            status: kind.status().as_u16(),
            detail: detail.into(),
            hint: None,
            errors: Vec::new(),
        }
    }

    /// The same problem with what to do next.
    pub fn hint(mut self, hint: impl Into<Box<str>>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// A refused document with its findings.
    pub fn document(diagnostics: &workflow::Diagnostics) -> Self {
        let count = diagnostics.errors().count();
        let noun = if count == 1 { "error" } else { "errors" };
        let mut problem = Problem::new(Kind::InvalidDocument, format!("{count} {noun} in the document"));
        problem.errors = diagnostics.iter().map(Finding::from).collect();
        problem
    }

    /// `what` (such as `run 0190…`) does not exist or may not be seen.
    pub fn not_found(what: impl std::fmt::Display) -> Self {
        Problem::new(Kind::NotFound, format!("{what} does not exist, or this token may not see it"))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        match status {
            StatusCode::UNAUTHORIZED => {
                headers
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"sagewai\""));
            }
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(header::RETRY_AFTER, RETRY_AFTER_SECONDS.into());
            }
            _ => {}
        }
        response
    }
}

/// `GET /problems/{slug}`: the page of one problem type, plain text.
pub(super) async fn documentation(Path(slug): Path<String>) -> Response {
    match Kind::ALL.into_iter().find(|kind| kind.slug() == slug) {
        Some(kind) => format!("{} ({})\n\n{}\n", kind.title(), kind.status().as_u16(), kind.explanation())
            .into_response(),
        None => Problem::not_found(format_args!("problem type {slug}")).into_response(),
    }
}

/// Any path that is not routed.
pub(super) async fn unknown_path(uri: axum::http::Uri) -> Problem {
    Problem::new(Kind::NotFound, format!("there is no path {}", uri.path()))
        .hint("GET /api/v1/openapi.json lists the paths")
}

/// A routed path with another method; axum adds `Allow`.
pub(super) async fn unknown_method(method: axum::http::Method, uri: axum::http::Uri) -> Problem {
    Problem::new(Kind::MethodNotAllowed, format!("{} does not take {method}", uri.path()))
        .hint("the Allow header lists the methods it takes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_has_a_page_of_its_own() {
        let slugs: std::collections::BTreeSet<_> = Kind::ALL.iter().map(|kind| kind.slug()).collect();
        assert_eq!(slugs.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(Kind::of(&Problem::new(kind, "").kind), Some(kind));
        }
    }
}
