//! Keeps a pool filled, and each waiting sandbox watched.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::claim::Shared;
use super::shelf::QUIET;
use crate::{Session, Template};

/// How often the pool looks at itself if nothing happens.
const TICK: Duration = Duration::from_secs(1);

pub(super) async fn refill(shared: Arc<Shared>, closing: CancellationToken) {
    loop {
        let wanted = shared.shelves().wanted(&shared.config, &shared.plan, Instant::now());
        let pause = if wanted.later { QUIET } else { TICK };
        for template in wanted.now {
            let shared_by_task = Arc::clone(&shared);
            shared.tasks.spawn(fill(shared_by_task, template));
        }
        tokio::select! {
            () = closing.cancelled() => return,
            () = shared.changed.notified() => {}
            () = sleep(pause) => {}
        }
    }
}

/// Makes one sandbox and keeps it until it is claimed, dies or grows too old.
async fn fill(shared: Arc<Shared>, template: Template) {
    let made = shared.make(&template).await;
    let failed = made.is_err();
    let (take, taken) = oneshot::channel();
    let listed = {
        let mut shelves = shared.shelves();
        shelves.filled(&template, failed, Instant::now());
        made.map(|session| (session, shelves.put(&template, take).ok()))
    };
    shared.changed.notify_one();
    match listed {
        Ok((session, Some(number))) => keep(shared, template, session, number, taken).await,
        Ok((session, None)) => discard(session).await,
        Err(error) => {
            shared.counters.failed_fills.add_one();
            tracing::warn!(%error, backend = shared.backend.name(), "failed to make a sandbox ahead of need");
        }
    }
}

async fn keep(
    shared: Arc<Shared>,
    template: Template,
    mut session: Session,
    number: u64,
    mut taken: oneshot::Receiver<oneshot::Sender<Session>>,
) {
    let expiry = Instant::now() + shared.config.max_age;
    let died = tokio::select! {
        biased;
        claim = &mut taken => return hand_over(session, claim).await,
        why = session.watch() => Some(why),
        () = sleep_until(expiry) => None,
    };
    match died {
        Some(error) => {
            shared.counters.died.add_one();
            tracing::warn!(%error, sandbox = %session.id(), "a waiting sandbox died");
        }
        None => {
            // A claim that came first is served: it may already have been told so.
            if !shared.shelves().remove(&template, number) {
                return hand_over(session, taken.await).await;
            }
            shared.counters.expired.add_one();
        }
    }
    shared.shelves().remove(&template, number);
    shared.changed.notify_one();
    discard(session).await;
}

/// Moves the sandbox to who claimed it; discards it if they are gone, or if it is.
async fn hand_over(mut session: Session, claim: Result<oneshot::Sender<Session>, oneshot::error::RecvError>) {
    let Ok(claimant) = claim else { return discard(session).await };
    if session.watch().now_or_never().is_some() {
        // Told at once, so that the claimant can try the next.
        drop(claimant);
        return discard(session).await;
    }
    if let Err(unclaimed) = claimant.send(session) {
        discard(unclaimed).await;
    }
}

pub(super) async fn discard(session: Session) {
    let id = session.id().clone();
    if let Err(error) = session.discard().await {
        tracing::warn!(%error, sandbox = %id, "failed to discard a sandbox");
    }
}
