//! Limits of requests, and the refusals of what passes them.

use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::problem::{Kind, Problem};

/// Bytes of a request's body.
pub(super) const BODY_LIMIT_BYTES: usize = 4 << 20;
/// Bytes of all header fields of a request together.
pub(super) const HEADER_LIMIT_BYTES: usize = 16 << 10;
/// Characters of an `Idempotency-Key`.
pub(super) const IDEMPOTENCY_KEY_LIMIT_CHARACTERS: usize = 255;
/// Labels of one run.
pub(super) const RUN_LABEL_LIMIT: usize = 32;
/// Bytes of a label's key or value.
pub(super) const RUN_LABEL_LIMIT_BYTES: usize = 255;
/// Rows of a page, if the client says nothing.
pub(super) const DEFAULT_PAGE_ROWS: usize = 50;
/// Rows of a page at most.
pub(super) const MAX_PAGE_ROWS: usize = 1000;
/// Steps shown with a run; the rest is at `/runs/{id}/steps`.
pub(super) const RUN_STEP_ROWS: usize = 500;
/// Artifacts of one run that are listed.
pub(super) const RUN_ARTIFACT_ROWS: usize = 10_000;
/// Streams (events, logs) of one server at once.
pub(super) const STREAM_LIMIT: usize = 1024;

/// Refuses a body or a header that is too large by what it says of itself, before anything is read.
pub(super) async fn check(request: Request, next: Next) -> Response {
    let header_bytes: usize =
        request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    if header_bytes > HEADER_LIMIT_BYTES {
        let detail =
            format!("the header fields take {header_bytes} bytes; the limit is {HEADER_LIMIT_BYTES}");
        return Problem::new(Kind::HeadersTooLarge, detail).into_response();
    }
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if length.is_some_and(|length: u64| length > BODY_LIMIT_BYTES as u64) {
        return too_large().into_response();
    }
    next.run(request).await
}

/// The body passes [`BODY_LIMIT_BYTES`].
pub(super) fn too_large() -> Problem {
    Problem::new(Kind::PayloadTooLarge, format!("the body is larger than {} MiB", BODY_LIMIT_BYTES >> 20))
        .hint("keep large data in a store of your own and pass its address")
}
