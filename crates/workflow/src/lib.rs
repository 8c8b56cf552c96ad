//! Workflow documents: parse, validate, expressions. Pure: no I/O, no clock, no randomness.
//!
//! [`Workflow::parse`] takes the text of a CNCF Serverless Workflow DSL 1.0 document and gives a typed tree or all of
//! its [`Diagnostics`]; [`Workflow::check_executable`] says what of it cannot be run yet.

pub mod diagnostic;
pub mod expression;
pub mod model;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use model::*;
