//! jq expressions with a deterministic budget: compiled once, evaluated many times.

mod code;
mod compile;
mod machine;
mod native;
mod path;
mod plain;
mod program;
mod template;
mod value;
mod variables;
mod work;

pub use program::{CompileError, Expression, ExpressionError, Language, Limits, Meter};
pub use template::Template;
pub use variables::Variables;
