//! The typed tree of a document: every construct of the DSL 1.0.3, with expressions compiled and values parsed.

mod authentication;
mod call;
mod document;
mod duration;
mod error;
mod event;
mod execution;
mod flow;
mod resource;
mod retry;
mod run;
mod task;

pub use authentication::*;
pub use call::*;
pub use document::*;
pub(crate) use duration::iso8601_duration;
pub use duration::*;
pub use error::*;
pub use event::*;
pub use execution::*;
pub use flow::*;
pub(crate) use resource::UriPart;
pub use resource::*;
pub use retry::*;
pub use run::*;
pub use task::*;
