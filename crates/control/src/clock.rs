//! The time, as the control plane sees it: the system's, or a test's.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use protocol::id::Timestamp;
use tokio::sync::watch;

/// Where the control plane takes its time from. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The system's clock.
    #[default]
    System,
    /// A clock that moves only when it is told to.
    Manual(ManualClock),
}

impl Clock {
    /// The time now.
    pub fn now(&self) -> Timestamp {
        match self {
            Clock::System => {
                let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Timestamp(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
            }
            Clock::Manual(clock) => clock.now(),
        }
    }

    /// Waits until the clock shows `time`.
    pub(crate) async fn sleep_until(&self, time: Timestamp) {
        match self {
            Clock::System => {
                let milliseconds = u64::try_from(time.0.saturating_sub(self.now().0)).unwrap_or(0);
                tokio::time::sleep(Duration::from_millis(milliseconds)).await;
            }
            Clock::Manual(clock) => {
                let mut shown = clock.0.subscribe();
                // The sender is in `clock`, so that the channel is open.
                let _ = shown.wait_for(|now| *now >= time).await;
            }
        }
    }
}

/// A clock of a test: it stands still until it is moved.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<watch::Sender<Timestamp>>);

impl ManualClock {
    /// A clock that shows `start`.
    pub fn new(start: Timestamp) -> Self {
        ManualClock(Arc::new(watch::Sender::new(start)))
    }

    /// The time it shows.
    pub fn now(&self) -> Timestamp {
        *self.0.borrow()
    }

    /// Moves it on by `milliseconds`.
    pub fn advance(&self, milliseconds: i64) {
        self.0.send_modify(|now| *now = now.plus(milliseconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_manual_clock_wakes_who_sleeps_until_its_time() {
        let manual = ManualClock::new(Timestamp(1_000));
        let clock = Clock::Manual(manual.clone());
        let sleeper = tokio::spawn({
            let clock = clock.clone();
            async move { clock.sleep_until(Timestamp(3_000)).await }
        });
        manual.advance(1_000);
        tokio::task::yield_now().await;
        assert!(!sleeper.is_finished());
        manual.advance(1_000);
        sleeper.await.expect("the sleeper wakes");
        assert_eq!(clock.now(), Timestamp(3_000));
    }
}
