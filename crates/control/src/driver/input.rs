//! What is fed to a run, and where it came from: the origin decides who is told when it is committed.

use std::sync::Arc;

use planner::{ChildId, Event};
use protocol::id::{AttemptId, RunId, TimerId, Timestamp};
use store::RunStatus;
use tokio::sync::oneshot;
use uuid::Uuid;
use workflow::Workflow;

use crate::error::{ControlError, SubmitError};
use crate::workers::link::WorkerName;

/// Something for one run.
pub(crate) enum Input {
    /// The run is made; always the first of a new run.
    Create(Box<Creation>),
    /// Something happened to it.
    Event {
        /// What.
        event: Event,
        /// Who wants to know that it is stored.
        origin: Origin,
    },
    /// A reminder is due that the driver set for itself.
    Alarm(Alarm),
}

/// A run to be made.
pub(crate) struct Creation {
    /// What the store keeps of it.
    pub(crate) new: store::NewRun,
    /// Its document.
    pub(crate) workflow: Arc<Workflow>,
    /// [`Event::Started`].
    pub(crate) event: Event,
    /// Who waits for it.
    pub(crate) reply: CreationReply,
}

/// Who waits for a run to be made.
pub(crate) type CreationReply = oneshot::Sender<Result<Created, SubmitError>>;

/// What became of a creation.
#[derive(Debug)]
pub(crate) enum Created {
    /// The run is stored, and so is its first turn.
    New {
        /// Its status after that turn.
        status: RunStatus,
        /// Count of its events.
        version: u64,
        /// When that turn was planned.
        at: Timestamp,
    },
    /// The same request was stored before, as this run.
    Repeated(RunId),
}

/// Where an event came from.
pub(crate) enum Origin {
    /// A request of the API.
    Client(oneshot::Sender<Result<(), ControlError>>),
    /// A worker's report. `open` says whether the store has the step as held: it was not cancelled before.
    Report {
        /// The attempt.
        attempt: AttemptId,
        /// Who reported.
        worker: WorkerName,
        /// Whether the attempt is to be ended in the store.
        open: bool,
        /// That the work had begun, if this was not stored yet.
        started: Option<Started>,
    },
    /// The step was lost with its workers too often.
    Lost {
        /// Its last attempt.
        attempt: AttemptId,
    },
    /// A timer of the run was due.
    Timer(TimerId),
    /// A child run has ended.
    Child(RunId),
    /// The driver itself, for something that the store implies.
    Driver,
}

/// That a step's work has begun.
#[derive(Clone, Debug)]
pub(crate) struct Started {
    /// When.
    pub(crate) at: Timestamp,
    /// Sandbox backend and id, where there is one.
    pub(crate) sandbox: Option<String>,
}

/// What the driver reminds itself of, by a timer that is set in the same commit as the need: a crash in between loses
/// nothing. Their ids are above all ids that a planner gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Alarm {
    /// A child run was made and is to begin.
    Start,
    /// The run has yielded and is to go on.
    GoOn,
    /// The run's parent wants it to end.
    Cancel,
    /// The run has ended, and its parent is to be told.
    Deliver,
}

/// Milliseconds after which an alarm is acted on by the timers; before, it is done by who set it.
pub(crate) const ALARM_DELAY_MS: i64 = 5_000;

impl Alarm {
    const ALL: [Alarm; 4] = [Alarm::Start, Alarm::GoOn, Alarm::Cancel, Alarm::Deliver];

    /// Its timer.
    pub(crate) fn timer(self) -> TimerId {
        TimerId(match self {
            Alarm::Start => u32::MAX,
            Alarm::GoOn => u32::MAX - 1,
            Alarm::Cancel => u32::MAX - 2,
            Alarm::Deliver => u32::MAX - 3,
        })
    }

    /// The alarm of a timer; `None` for the timers of a planner.
    pub(crate) fn of(timer: TimerId) -> Option<Alarm> {
        Alarm::ALL.into_iter().find(|alarm| alarm.timer() == timer)
    }
}

/// The id of a child run: made of its parent's, so that making it twice makes it once. A UUID version 7 of the time at
/// which the parent was made, so that children sort beside their parent.
pub(crate) fn child_run(parent: RunId, child: ChildId) -> RunId {
    const KEY: u64 = 0x9e37_79b9_7f4a_7c15;
    let bits = parent.0.as_u128();
    let milliseconds = u64::try_from(bits >> 80).expect("48 bits");
    // The mixing function of SplitMix64 over the parent's random bits and the number.
    let mix = |seed: u64| {
        let mut z = seed.wrapping_add(KEY);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    let low = u64::try_from(bits & u128::from(u64::MAX)).expect("64 bits");
    let high = u64::try_from((bits >> 64) & 0xffff).expect("16 bits");
    let first = mix(low ^ (u64::from(child.0) << 32)).to_be_bytes();
    let second = mix(low.rotate_left(17) ^ high ^ u64::from(child.0)).to_be_bytes();
    let mut random = [0; 10];
    random[..8].copy_from_slice(&first);
    random[8..].copy_from_slice(&second[..2]);
    RunId(uuid::Builder::from_unix_timestamp_millis(milliseconds, &random).into_uuid())
}

/// Where ids of runs come from.
#[derive(Debug)]
pub(crate) enum RunIds {
    /// UUID version 7 by the system's clock and randomness.
    System,
    /// The same ids for the same seed, for tests.
    Seeded(std::sync::atomic::AtomicU64),
}

impl RunIds {
    /// A new id.
    pub(crate) fn next(&self) -> RunId {
        match self {
            RunIds::System => RunId(Uuid::now_v7()),
            RunIds::Seeded(counter) => {
                let number = counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let mut random = [0; 10];
                random[2..].copy_from_slice(&number.to_be_bytes());
                RunId(uuid::Builder::from_unix_timestamp_millis(number, &random).into_uuid())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_has_the_same_id_each_time_and_its_siblings_another() {
        let parent = RunId(Uuid::now_v7());
        let ids: std::collections::BTreeSet<RunId> =
            (0..1000).map(|n| child_run(parent, ChildId(n))).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.contains(&child_run(parent, ChildId(7))));
        assert_eq!(child_run(parent, ChildId(7)).0.get_version_num(), 7);
    }

    #[test]
    fn alarms_are_told_from_timers() {
        for alarm in Alarm::ALL {
            assert_eq!(Alarm::of(alarm.timer()), Some(alarm));
        }
        assert_eq!(Alarm::of(TimerId(1)), None);
    }
}
