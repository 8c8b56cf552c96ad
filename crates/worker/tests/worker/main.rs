//! The worker from outside: its stream, and each mode that needs nothing but the worker.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bare;
mod stream;
mod support;
