//! The Docker sandbox backend against a real daemon, which `cargo xtask test` starts. Without one the tests say so and
//! pass.

#![cfg(feature = "docker")]

mod daemon;
mod ends;
mod harness;
mod images;
mod suites;
