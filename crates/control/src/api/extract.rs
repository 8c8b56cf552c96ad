//! Bodies, queries and path parameters, refused as problems that name the place.

use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::header;
use axum::http::request::Parts;
use bytes::Bytes;
use protocol::id::RunId;
use serde::de::DeserializeOwned;

use super::Api;
use super::limits::{BODY_LIMIT_BYTES, too_large};
use super::problem::{Finding, Kind, Problem};

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Api> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _api: &Api) -> Result<Self, Problem> {
        let media_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        if !media_type.is_some_and(is_json) {
            let given = media_type.map_or("none".to_owned(), |given| format!("`{given}`"));
            return Err(Problem::new(Kind::UnsupportedMediaType, format!("the Content-Type is {given}"))
                .hint("send the header `Content-Type: application/json`"));
        }
        let bytes = axum::body::to_bytes(request.into_body(), BODY_LIMIT_BYTES).await.map_err(|error| {
            if is_length_limit(&error) {
                too_large()
            } else {
                Problem::new(Kind::MalformedRequest, "the body ended before its end")
            }
        })?;
        parse(&bytes).map(Body)
    }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || (essence.starts_with("application/") && essence.ends_with("+json"))
}

fn is_length_limit(error: &axum::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

fn parse<T: DeserializeOwned>(bytes: &Bytes) -> Result<T, Problem> {
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        finding(pointer, &error.into_inner())
    })?;
    json.end().map_err(|error| finding(String::new(), &error))?;
    Ok(value)
}

fn finding(pointer: String, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let detail = text.strip_suffix(&place).unwrap_or(&text).to_owned();
    let code = match error.classify() {
        serde_json::error::Category::Data => "wrong-shape",
        _ => "malformed-json",
    };
    let mut problem = Problem::new(Kind::MalformedRequest, format!("the body cannot be read: {text}"));
    problem.errors = vec![Finding {
        severity: "error".to_owned(),
        code: code.to_owned(),
        detail,
        pointer,
        line: u32::try_from(error.line()).unwrap_or(u32::MAX),
        column: u32::try_from(error.column()).unwrap_or(u32::MAX),
        help: None,
    }];
    problem
}

/// RFC 6901.
fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(format!("/{index}")),
            Segment::Map { key } => Some(format!("/{}", key.replace('~', "~0").replace('/', "~1"))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Query parameters; unknown ones are refused.
pub(super) struct Parameters<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Api> for Parameters<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        match Query::from_request_parts(parts, api).await {
            Ok(Query(parameters)) => Ok(Parameters(parameters)),
            Err(rejection) => Err(Problem::new(Kind::MalformedRequest, rejection.body_text())
                .hint("GET /api/v1/openapi.json lists the parameters of each path")),
        }
    }
}

/// The run of a path `/runs/{id}…`.
pub(super) struct RunPath(pub(super) RunId);

impl FromRequestParts<Api> for RunPath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let Path(text) = Path::<String>::from_request_parts(parts, api)
            .await
            .map_err(|rejection| Problem::new(Kind::MalformedRequest, rejection.body_text()))?;
        run_id(&text).map(RunPath)
    }
}

/// A run's id from its text.
pub(super) fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| {
        Problem::new(Kind::MalformedRequest, format!("`{text}` is not the id of a run: that is a UUID"))
            .hint("sagewai runs list shows the ids")
    })
}
