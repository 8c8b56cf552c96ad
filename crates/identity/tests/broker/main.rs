//! The broker from outside: its two APIs over real sockets, restarts and kills.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where")]

mod fixture;
mod kill;
mod open;
mod operate;
