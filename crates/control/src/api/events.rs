//! `GET /api/v1/runs/{id}/events`: a run's progress as server-sent events.
//!
//! Each connection begins with a snapshot, so that a client that reconnects, with `Last-Event-ID` or without, has the
//! whole state again; so does one that did not keep up.

use std::collections::HashMap;
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
use super::model::{Event, StepState};
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
    let follow =
        Follow { api, id, events, next: Next::Snapshot, seen: HashMap::new(), sent: 0, _permit: permit };
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
    /// How far each step is that has not ended: an event of before the last snapshot is behind it, and what happens in
    /// one commit is not always told in order.
    seen: HashMap<u32, Progress>,
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
        self.seen = run.steps.iter().map(|step| (step.step, progress(step.attempt, step.state))).collect();
        self.next = if state.has_ended() { Next::End(state) } else { Next::Live };
        Some(Event::Snapshot { run: Box::new(run) })
    }

    async fn live(&mut self) -> Option<Event> {
        loop {
            let told = self.events.next().await?;
            let Some(event) = Event::of(told) else { return self.snapshot().await };
            if !self.is_behind(&event) {
                if let Event::Status { state, .. } = &event
                    && state.has_ended()
                {
                    // The snapshot that closes the stream has the output or the error.
                    self.next = Next::Snapshot;
                }
                return Some(event);
            }
        }
    }

    fn is_behind(&mut self, event: &Event) -> bool {
        let Event::Step { step, attempt, state, .. } = event else { return false };
        let now = progress(*attempt, *state);
        if self.seen.get(step).is_some_and(|seen| now < *seen) {
            return true;
        }
        if state.has_ended() {
            self.seen.remove(step);
        } else {
            self.seen.insert(*step, now);
        }
        false
    }
}

/// Attempt, then how far the attempt is; a step that is ready again has its lost attempt behind it.
type Progress = (u32, u8);

fn progress(attempt: u32, state: StepState) -> Progress {
    let rank = match state {
        StepState::Ready if attempt == 0 => 0,
        StepState::Leased => 1,
        StepState::Running => 2,
        StepState::Ready | StepState::Lost => 3,
        StepState::Completed | StepState::Failed | StepState::Cancelled => 4,
    };
    (attempt, rank)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_goes_forward_only() {
        let life = [
            progress(0, StepState::Ready),
            progress(1, StepState::Leased),
            progress(1, StepState::Running),
            progress(1, StepState::Lost),
            progress(2, StepState::Leased),
            progress(2, StepState::Completed),
        ];
        assert!(life.is_sorted());
        assert_eq!(progress(1, StepState::Lost), progress(1, StepState::Ready));
    }
}
