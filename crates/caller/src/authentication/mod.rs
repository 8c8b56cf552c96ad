//! The schemes of HTTP authentication, and where their credentials come from.

pub(crate) mod digest;
pub(crate) mod identity;
pub(crate) mod oauth2;

use base64ct::{Base64, Encoding};

/// What follows `Basic` (RFC 7617).
pub(crate) fn basic(username: &str, password: &str) -> String {
    Base64::encode_string(format!("{username}:{password}").as_bytes())
}
