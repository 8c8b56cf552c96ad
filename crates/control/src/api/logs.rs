//! `GET /api/v1/runs/{id}/logs`: what the steps of a run wrote, stored or live.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::StreamExt;
use protocol::id::StepId;
use serde::Deserialize;
use store::LogCursor;
use utoipa::IntoParams;

use super::Api;
use super::access::Caller;
use super::events::{KEEP_ALIVE, permit};
use super::extract::{Parameters, RunPath};
use super::model::LogLine;
use super::problem::{Kind, Problem};
use super::runs::readable_summary;

/// Which logs are read.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only of this step.
    step: Option<u32>,
    /// With `true` the answer is a stream of server-sent events that goes on until the run ends.
    #[serde(default)]
    follow: bool,
    /// Only what comes after this position, in the order of step, attempt and number.
    after: Option<String>,
}

/// Reads logs: one JSON object per line, or with `follow=true` server-sent events `log`, then `end`. With `step`,
/// `Last-Event-ID` goes on after that position; without, a stream that is opened again begins anew, since steps
/// write side by side: know a repeated piece by its position.
#[utoipa::path(get, path = "/api/v1/runs/{id}/logs", tag = "runs",
    params(("id" = String, Path, description = "Id of the run"), Wanted,
        ("Last-Event-ID" = Option<String>, Header, description = "Position of the last piece seen")),
    responses((status = 200, description = "Lines of JSON, or server-sent events", content(
        (LogLine = "application/x-ndjson"), (LogLine = "text/event-stream"))),
    (status = 400, body = Problem), (status = 401, body = Problem), (status = 404, body = Problem),
    (status = 429, body = Problem)))]
pub(super) async fn read(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
    headers: HeaderMap,
    Parameters(wanted): Parameters<Wanted>,
) -> Result<Response, Problem> {
    readable_summary(&api, &caller, id).await?;
    let permit = permit(&api)?;
    let last_seen = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let resumed = if wanted.step.is_some() { last_seen } else { None };
    let after = wanted.after.or(resumed).as_deref().map(position).transpose()?;
    let entries = api.control.tail_logs(id, wanted.step.map(StepId), after, wanted.follow).await?;
    if wanted.follow {
        let pieces =
            entries.take_while(|entry| std::future::ready(entry.is_ok())).filter_map(async |entry| {
                let line = LogLine::from(entry.ok()?);
                Some(
                    sse::Event::default()
                        .event("log")
                        .id(&line.position)
                        .json_data(&line)
                        .expect("a line is plain data"),
                )
            });
        let end = futures_util::stream::once(async { sse::Event::default().event("end").data("{}") });
        let stream = pieces.chain(end).map(move |event| {
            let _held = &permit;
            Ok::<_, std::convert::Infallible>(event)
        });
        return Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)).into_response());
    }
    let lines = entries.map(move |entry| {
        let _held = &permit;
        let mut text = serde_json::to_vec(&LogLine::from(entry?)).expect("a line is plain data");
        text.push(b'\n');
        Ok::<_, crate::ControlError>(Bytes::from(text))
    });
    let mut response = axum::body::Body::from_stream(lines).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    Ok(response)
}

fn position(text: &str) -> Result<LogCursor, Problem> {
    let refuse = || {
        Problem::new(
            Kind::MalformedRequest,
            format!("`{text}` is not a position: that is step.attempt.number"),
        )
    };
    let mut parts = text.splitn(3, '.');
    let mut part = || parts.next().and_then(|part| part.parse::<u64>().ok()).ok_or_else(refuse);
    let (step, attempt, sequence) = (part()?, part()?, part()?);
    Ok(LogCursor {
        step: StepId(u32::try_from(step).map_err(|_| refuse())?),
        attempt: u32::try_from(attempt).map_err(|_| refuse())?,
        sequence,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_has_three_numbers() {
        let cursor = position("3.1.17").unwrap();
        assert_eq!((cursor.step, cursor.attempt, cursor.sequence), (StepId(3), 1, 17));
        for bad in ["", "3", "3.1", "3.1.x", "3.1.1.1"] {
            assert!(position(bad).is_err(), "{bad}");
        }
    }
}
