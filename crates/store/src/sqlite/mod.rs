//! The embedded default: one SQLite database in WAL mode, fsync on. One thread writes and commits whatever is queued as
//! one transaction; another copies the log into the database file, and read-only connections read beside both.

mod catalog;
mod checkpoint;
mod delete;
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
