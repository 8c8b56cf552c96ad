//! Durations: `{seconds: 5}`, ISO 8601, or an expression that gives one of these.

use std::time::Duration;

use crate::expression::Expression;

/// A duration that is known, or known only when the task runs.
#[derive(Clone, Debug)]
pub enum DurationValue {
    /// Known.
    Literal(Duration),
    /// Gives an object, an ISO 8601 text, or a number of milliseconds; see [`DurationValue::from_json`].
    Expression(Expression),
}
