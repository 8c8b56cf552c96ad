//! The sagewai binary.
fn main() {}
