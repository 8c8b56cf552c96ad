//! The step: its process, its standard streams, its end.

mod environment;
mod output;
mod running;
mod spawn;
mod stdin;
mod tree;

pub(crate) use running::Step;
pub(crate) use tree::kill_tree;
