//! The guest.
#![allow(dead_code, reason = "slice")]
mod redact;
fn main() {}
