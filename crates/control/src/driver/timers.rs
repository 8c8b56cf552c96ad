//! Timers: read from the store when they are due, fired once, cleared by the turn that takes them. A restart loses none.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use planner::Event;
use protocol::id::{RunId, TimerId, Timestamp};
use tokio::sync::Notify;

use super::input::{Alarm, Input, Origin};
use crate::core::Core;

/// Timers read at once.
const PAGE: usize = 1024;
/// How long to wait when the store cannot be read.
const RETRY: Duration = Duration::from_millis(250);
/// How long to wait for fired timers to be taken, before others that are due meanwhile are looked for.
const TAKING: Duration = Duration::from_millis(50);

/// Wakes the timers' task when a timer was set or taken.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    changed: Notify,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Timers that were fired, and whose turn is not committed yet.
    fired: HashSet<(RunId, TimerId)>,
    /// What the task sleeps until.
    sleeps_until: Option<Timestamp>,
}

impl Bell {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A timer was committed.
    pub(crate) fn set(&self, at: Timestamp) {
        let mut state = self.state();
        if state.sleeps_until.is_none_or(|until| at < until) {
            state.sleeps_until = Some(at);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// A fired timer was taken, or is to be fired again.
    pub(crate) fn done(&self, run: RunId, timer: TimerId) {
        let mut state = self.state();
        if state.fired.remove(&(run, timer)) && state.fired.is_empty() {
            drop(state);
            self.changed.notify_one();
        }
    }
}

/// Fires timers for ever.
pub(crate) async fn run(core: Arc<Core>) {
    loop {
        let now = core.clock.now();
        match fire(&core, now).await {
            Ok(Next::Now) => {}
            Ok(Next::WhenTaken) => {
                let _ = tokio::time::timeout(TAKING, core.bell.changed.notified()).await;
            }
            Ok(Next::At(at)) => {
                tokio::select! {
                    biased;
                    () = core.bell.changed.notified() => {}
                    () = core.clock.sleep_until(at) => {}
                }
            }
            Ok(Next::Never) => core.bell.changed.notified().await,
            Err(error) => {
                tracing::warn!(%error, "failed to read timers; trying again");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

enum Next {
    Now,
    WhenTaken,
    At(Timestamp),
    Never,
}

async fn fire(core: &Core, now: Timestamp) -> Result<Next, store::StoreError> {
    // What is set from here on wakes the task: it may be missing in the page.
    core.bell.state().sleeps_until = None;
    let due = core.store.due_timers(now, PAGE).await?;
    let full = due.len() == PAGE;
    let mut fired = 0;
    for timer in due {
        if !core.bell.state().fired.insert((timer.run, timer.timer)) {
            continue;
        }
        fired += 1;
        let input = match Alarm::of(timer.timer) {
            Some(alarm) => Input::Alarm(alarm),
            None => Input::Event {
                event: Event::TimerFired { timer: timer.timer, at: now },
                origin: Origin::Timer(timer.timer),
            },
        };
        core.schedule.push(timer.run, input);
    }
    core.metrics.timers_fired.add(fired);
    if full && fired > 0 {
        return Ok(Next::Now);
    }
    if !core.bell.state().fired.is_empty() {
        return Ok(Next::WhenTaken);
    }
    let Some(at) = core.store.next_timer_at().await? else { return Ok(Next::Never) };
    let mut state = core.bell.state();
    let at = state.sleeps_until.map_or(at, |set| set.min(at));
    state.sleeps_until = Some(at);
    Ok(Next::At(at))
}
