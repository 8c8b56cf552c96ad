//! Test, bench and dist: one command each.
fn main() {}
