//! How a call fails, in the DSL's error types.

use protocol::step::{StepError, error_type};

fn failure(kind: &str, status: u16, title: &str, detail: impl Into<String>) -> StepError {
    StepError { kind: kind.to_owned(), status, title: title.to_owned(), detail: detail.into() }
}

/// The call's own configuration is wrong.
pub(crate) fn configuration(detail: impl Into<String>) -> StepError {
    failure(error_type::CONFIGURATION, 400, "The step cannot be run as it is configured", detail)
}

/// The other side failed.
pub(crate) fn communication(status: u16, detail: impl Into<String>) -> StepError {
    failure(error_type::COMMUNICATION, status, "The call failed", detail)
}

/// The credentials do not fit, or the authority gave none for them.
pub(crate) fn authentication(detail: impl Into<String>) -> StepError {
    failure(error_type::AUTHENTICATION, 401, "The call could not be authenticated", detail)
}
