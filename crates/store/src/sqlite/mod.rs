//! The embedded default: one SQLite database in WAL mode, fsync on. One thread writes and commits whatever is queued as
//! one transaction; a few read-only connections read beside it.

mod catalog;
mod error;
mod lock;
mod logs;
#[cfg(test)]
mod plans;
mod queue;
mod read;
mod rows;
mod runs;
mod schema;
mod sqlite_store;
mod tokens;
mod turns;
mod workers;
mod write;

pub use sqlite_store::{SqliteOptions, SqliteStore};
