//! The spawner: a small process, forked from the worker early, that makes sandboxes and nothing else.
//!
//! It dies with the worker: its socket ends, and the kernel signals it. Every sandbox dies with it.

mod blank;
mod child;
mod landlock;
mod maps;
mod prepare;
mod root;
mod serve;
mod start;

pub use start::{Spawner, SpawnerError, SpawnerOptions};
