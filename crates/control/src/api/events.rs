//! `GET /api/v1/runs/{id}/events`: a run's progress as server-sent events.
//!
//! Each connection begins with a snapshot, so that a client that reconnects, with `Last-Event-ID` or without, has the
//! whole state again; so does one that did not keep up.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use protocol::id::RunId;
use tokio::sync::OwnedSemaphorePermit;

use super::Api;
use super::access::Caller;
use super::extract::RunPath;
use super::model::Event;
use super::problem::{Kind, Problem};
use super::runs::{read, readable_summary};
use crate::RunEvents;

/// How often a comment keeps an idle stream open through proxies.
pub(super) const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Follows a run until it ends. Events: `snapshot`, `status`, `step`, `note`, and `end` as the last. A connection that
/// closes without `end` was cut: connect again.
#[utoipa::path(get, path = "/api/v1/runs/{id}/events", tag = "runs",
    params(("id" = String, Path, description = "Id of the run"),
        ("Last-Event-ID" = Option<String>, Header, description = "Accepted; every connection begins with a snapshot")),
    responses((status = 200, description = "Server-sent events; `data` is an Event", body = Event,
        content_type = "text/event-stream"),
    (status = 401, body = Problem), (status = 404, body = Problem), (status = 429, body = Problem)))]
pub(super) async fn stream(
    State(api): State<Api>,
    caller: Caller,
    RunPath(id): RunPath,
) -> Result<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>, Problem> {
    readable_summary(&api, &caller, id).await?;
    let permit = permit(&api)?;
    // Watch before reading, so that nothing falls between.
    let events = api.control.watch(id).await?;
    let follow = Follow { api, id, events, next: Next::Snapshot, sent: 0, _permit: permit };
    Ok(Sse::new(stream::unfold(follow, Follow::step)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

/// A place for one more stream.
pub(super) fn permit(api: &Api) -> Result<OwnedSemaphorePermit, Problem> {
    api.streams.clone().try_acquire_owned().map_err(|_| {
        Problem::new(
            Kind::Overloaded,
            format!("{} streams are open, the limit of this server", super::limits::STREAM_LIMIT),
        )
        .hint("close a stream, or ask another replica")
    })
}

struct Follow {
    api: Api,
    id: RunId,
    events: RunEvents,
    next: Next,
    sent: u64,
    _permit: OwnedSemaphorePermit,
}

enum Next {
    Snapshot,
    Live,
    End(super::model::RunState),
    Nothing,
}

impl Follow {
    async fn step(mut self) -> Option<(Result<sse::Event, Infallible>, Self)> {
        let event = match self.next {
            Next::Snapshot => self.snapshot().await?,
            Next::Live => self.live().await?,
            Next::End(state) => {
                self.next = Next::Nothing;
                Event::End { state }
            }
            Next::Nothing => return None,
        };
        self.sent += 1;
        let wire = sse::Event::default().event(event.name()).id(self.sent.to_string());
        let wire = wire.json_data(&event).expect("an event is plain data");
        Some((Ok(wire), self))
    }

    /// `None` cuts the stream, as for a store that does not answer: the client connects again.
    async fn snapshot(&mut self) -> Option<Event> {
        let run = read(&self.api, self.id).await.ok()?;
        let state = run.summary.state;
        self.next = if state.has_ended() { Next::End(state) } else { Next::Live };
        Some(Event::Snapshot { run: Box::new(run) })
    }

    async fn live(&mut self) -> Option<Event> {
        let told = self.events.next().await?;
        match Event::of(told) {
            Some(event) => {
                if let Event::Status { state, .. } = &event
                    && state.has_ended()
                {
                    // The snapshot that closes the stream has the output or the error.
                    self.next = Next::Snapshot;
                }
                Some(event)
            }
            None => self.snapshot().await,
        }
    }
}
