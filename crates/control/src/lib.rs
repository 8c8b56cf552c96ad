//! The control plane: takes runs, plans them, keeps them, hands their steps to workers. It never runs a step.
//!
//! [`start`] gives a [`Control`], the one handle that the REST API, the worker service and the CLI's `dev` share.

pub mod api;
pub mod clock;
mod config;
mod core;
mod dispatch;
mod driver;
mod error;
mod handle;
mod hub;
pub mod listen;
pub mod logs;
pub mod metrics;
mod retention;
mod start;
mod submit;
pub mod watch;
pub mod workers;

pub use config::{ControlConfig, GrantKey};
pub use driver::documents::{DOCUMENT_LABEL, MAX_DOCUMENT_BYTES, UNPUBLISHED_NAMESPACE};
pub use driver::holders::MAX_LOST_ATTEMPTS;
pub use error::{ControlError, PublishError, SubmitError};
pub use handle::{Control, LogEntries, NewRun, Published, RunEvents, Source};
pub use retention::KeepRuns;
pub use start::start;
pub use workers::WorkerInfo;
