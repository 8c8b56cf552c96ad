//! jq expressions with a deterministic budget: compiled once, evaluated many times.

mod program;
mod template;
mod variables;

pub use program::{CompileError, Expression, ExpressionError, Language, Limits, Meter};
pub use template::Template;
pub use variables::Variables;
