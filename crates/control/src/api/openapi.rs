//! The OpenAPI 3.1 document: its frame here, its paths from the handlers, its schemas from the types.

use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::model::Event;
use super::problem::Problem;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Sagewai",
        description = "Runs AI-agent workflows: submit documents, follow runs, read logs and artifacts. Every error is \
                       a problem (RFC 9457). Lists are paged by an opaque cursor, also in the Link header.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(Problem, Event)),
    security(("token" = [])),
    modifiers(&BearerToken)
)]
struct Frame;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A token of `sagewai token create`."))
            .build();
        if let Some(components) = &mut document.components {
            components.add_security_scheme("token", SecurityScheme::Http(scheme));
        }
    }
}

/// The document without paths.
pub(super) fn frame() -> utoipa::openapi::OpenApi {
    Frame::openapi()
}

/// The document as JSON.
pub(super) fn render(document: &utoipa::openapi::OpenApi) -> Bytes {
    serde_json::to_vec_pretty(document).expect("the document is plain data").into()
}

/// `GET /api/v1/openapi.json`: needs no token.
pub(super) async fn serve(document: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], document).into_response()
}
