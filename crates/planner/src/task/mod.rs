//! Tasks: a file per kind, and what all kinds share: their beginning, their end, their timers.

mod call;
pub(crate) mod for_;
pub(crate) mod fork;
mod lifecycle;
pub(crate) mod list;
mod raise;
mod run;
mod set;
mod step;
mod switch;
pub(crate) mod try_;
mod wait;

pub(crate) use lifecycle::{begin, due, leave};
pub(crate) use try_::resume_attempt;
