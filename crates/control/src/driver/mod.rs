//! The driver: takes events of many runs, plans them on threads, commits their turns in groups, then acts.
//!
//! ```text
//! API, workers, timers ──Input──▶ schedule ──▶ planners ──PlannedTurn──▶ committer ──▶ store
//!                                    ▲                                     │ after the commit
//!                                    └──── the run, further inputs ◀───────┴──▶ workers, clients, watchers, timers
//! ```
//!
//! A run is with one planner, or in one commit, or in the schedule, and never in two places at once. What fails to
//! commit is dropped and loaded again from the store, which is the only truth.

pub(crate) mod batch;
pub(crate) mod committer;
pub(crate) mod documents;
pub(crate) mod ends;
pub(crate) mod holders;
pub(crate) mod input;
pub(crate) mod live;
pub(crate) mod planned;
pub(crate) mod planners;
pub(crate) mod planning;
pub(crate) mod schedule;
pub(crate) mod settle;
pub(crate) mod tell;
pub(crate) mod timers;
