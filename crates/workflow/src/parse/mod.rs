//! Text to a typed tree: [`Workflow::parse`], one file per part of the document.

mod call;
mod document;
mod event;
mod execution;
mod flow;
mod policy;
pub(crate) mod reader;
mod resource;
mod run;
mod schema;
pub(crate) mod syntax;
mod task;
