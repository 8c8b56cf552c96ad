//! The whole, as its users run it: real processes, real sandboxes, real sealing. What is proved here are the three
//! invariants, what each failure looks like, and what is left after a kill.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backends;
mod calls;
mod demo;
mod failures;
mod fleet;
mod invariants;
mod kills;
mod processes;
mod sagewai;
mod scan;
#[path = "../../../caller/tests/service/mod.rs"]
mod service;
