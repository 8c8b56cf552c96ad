//! The control plane: takes runs, plans them, keeps them, hands their steps to workers. It never runs a step.
//!
//! [`start`] gives a [`Control`], the one handle that the REST API, the worker service and the CLI's `dev` share.

pub mod api;
pub mod clock;
mod config;
mod error;
mod handle;
pub mod logs;
pub mod metrics;
pub mod watch;
pub mod workers;

pub use config::{ControlConfig, GrantKey};
pub use error::{ControlError, PublishError, SubmitError};
pub use handle::{Control, LogEntries, NewRun, Published, RunEvents, Source, WorkerInfo, start};
