//! Workflow documents: parse, validate, expressions. Pure: no I/O, no clock, no randomness.
//!
//! [`Workflow::parse`] takes the text of a CNCF Serverless Workflow DSL 1.0 document and gives a typed tree or all of
//! its [`Diagnostics`]; [`Workflow::check_executable`] says what of it cannot be run yet.

pub mod diagnostic;
mod executable;
pub mod expression;
pub mod model;
mod parse;
mod validate;

pub use diagnostic::{Diagnostic, Diagnostics, Severity};
pub use model::*;

/// For tests of this crate only.
#[doc(hidden)]
pub mod testing {
    /// The reader's view of a YAML text.
    pub fn yaml_to_json(text: &str) -> Result<serde_json::Value, crate::Diagnostic> {
        crate::parse::syntax::read(text).map(|node| node.to_json())
    }
}
