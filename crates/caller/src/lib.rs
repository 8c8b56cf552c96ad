//! `call: http` without I/O: what to send, what to do with a reply, what becomes the task's output.
//!
//! [`Exchange`] gives one request after the other, for tokens, challenges, redirects and the call itself, and takes the
//! replies. The worker sends them in mode 0; in modes 1 and 2 the program of this crate does, from inside the sandbox.

mod answer;
mod authentication;
mod exchange;
mod failure;
mod reference;
mod request;

pub use answer::{Answer, MAX_ANSWER_BYTES, output, too_large};
pub use authentication::identity::credentials;
pub use exchange::Exchange;
pub use request::{Reply, Request, place};
