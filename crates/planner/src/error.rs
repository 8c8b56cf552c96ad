//! The errors that the planner itself raises, in the DSL's shape.

use protocol::step::{StepError, error_type};
use workflow::expression::ExpressionError;

fn error(kind: &str, status: u16, title: &str, detail: String) -> StepError {
    StepError { kind: kind.to_owned(), status, title: title.to_owned(), detail }
}

/// The document asks for something that cannot be.
pub(crate) fn configuration(detail: impl Into<String>) -> StepError {
    error(error_type::CONFIGURATION, 400, "Configuration error", detail.into())
}

/// Data does not match its schema.
pub(crate) fn validation(what: &str, detail: &str) -> StepError {
    error(
        error_type::VALIDATION,
        400,
        "Validation error",
        format!("the {what} does not match its schema: {detail}"),
    )
}

/// An expression gave no value.
pub(crate) fn expression(cause: &ExpressionError) -> StepError {
    error(error_type::EXPRESSION, 400, "Expression error", cause.to_string())
}

/// An expression gave a value of the wrong kind.
pub(crate) fn unexpected(detail: impl Into<String>) -> StepError {
    error(error_type::EXPRESSION, 400, "Expression error", detail.into())
}

/// A limit of time was passed.
pub(crate) fn timeout(what: &str, milliseconds: i64) -> StepError {
    let seconds = milliseconds as f64 / 1000.0;
    error(error_type::TIMEOUT, 408, "Timeout", format!("the {what} took longer than {seconds} s"))
}

/// A limit of the planner was passed.
pub(crate) fn limit(detail: impl Into<String>) -> StepError {
    error(error_type::RUNTIME, 507, "Limit exceeded", detail.into())
}

/// Something that was waited for was stopped by someone else.
pub(crate) fn stopped(what: &str) -> StepError {
    error(error_type::RUNTIME, 500, "Cancelled", format!("the {what} was cancelled, though its run was not"))
}
