//! The worker from outside: its stream, and each mode that needs nothing but the worker.

mod bare;
mod stream;
mod support;
