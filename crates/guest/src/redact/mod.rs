//! Redaction: no secret value and no secret key's name leaves the sandbox in output, in the forms that tools print.
//!
//! It is hygiene, not a boundary: a step that compresses, encrypts or splits a value on purpose gets it past.
//!
//! The matcher is our own rather than an Aho-Corasick automaton: patterns stay in one buffer that is wiped (an
//! automaton spreads them over its transition tables), it is ready as soon as they are sorted (an automaton over the
//! hundreds of forms of an identity takes milliseconds before the step may start), and it can look past line breaks.

mod forms;
mod patterns;
mod stream;

pub(crate) use patterns::{Patterns, Secret};
pub(crate) use stream::Redactor;
