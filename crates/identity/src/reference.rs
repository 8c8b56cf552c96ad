//! How a document names an identity: `acme-prod`, `acme-prod/reporting`, `builtin:acme-prod/reporting`. The scheme names the
//! identity backend; without one it is the builtin file.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Schemes of the identity backends in this build.
pub const SCHEMES: &[&str] = &["builtin"];
/// Longest name of an identity or view, bytes.
pub const MAX_NAME_BYTES: usize = 64;

/// Why a reference or a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The scheme is of no identity backend in this build.
    #[error("no identity backend has the scheme `{0}:`; this build has: builtin")]
    Scheme(String),
    /// A name has characters it may not have.
    #[error(
        "`{0}` is not a name: use 1 to 64 lower-case letters, digits, `-`, `_`, `.`, beginning with a letter or digit"
    )]
    Name(String),
    /// A key is no environment variable's name.
    #[error(
        "`{0}` is not a key: use 1 to 128 letters, digits and `_`, not beginning with a digit, such as DATABASE_URL"
    )]
    Key(String),
}

macro_rules! name {
    ($(#[$doc:meta])* $type:ident, $valid:expr, $error:path) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $type {
            type Err = ReferenceError;

            fn from_str(text: &str) -> Result<Self, ReferenceError> {
                let valid: fn(&str) -> bool = $valid;
                if valid(text) { Ok($type(text.to_owned())) } else { Err($error(text.chars().take(128).collect())) }
            }
        }

        impl TryFrom<String> for $type {
            type Error = ReferenceError;

            fn try_from(text: String) -> Result<Self, ReferenceError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

name!(
    /// The name of an identity, such as `acme-prod`.
    IdentityName,
    is_name,
    ReferenceError::Name
);
name!(
    /// The name of a view of an identity, such as `reporting`.
    ViewName,
    is_name,
    ReferenceError::Name
);
name!(
    /// The name of a secret or setting within an identity: the environment variable that the step sees.
    KeyName,
    seal::payload::is_environment_name,
    ReferenceError::Key
);

fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= MAX_NAME_BYTES
        && text.bytes().next().is_some_and(plain)
        && text.bytes().all(|byte| plain(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

/// A parsed reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The scheme of the identity backend, one of [`SCHEMES`].
    pub scheme: &'static str,
    /// The identity.
    pub identity: IdentityName,
    /// The view; absent for all keys.
    pub view: Option<ViewName>,
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (scheme, path) = match text.split_once(':') {
            None => ("builtin", text),
            Some((scheme, path)) => {
                let known = SCHEMES.iter().find(|known| **known == scheme);
                (*known.ok_or_else(|| ReferenceError::Scheme(scheme.chars().take(64).collect()))?, path)
            }
        };
        let (identity, view) = match path.split_once('/') {
            None => (path, None),
            Some((identity, view)) => (identity, Some(view.parse()?)),
        };
        Ok(Reference { scheme, identity: identity.parse()?, view })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.scheme, self.identity)?;
        self.view.as_ref().map_or(Ok(()), |view| write!(f, "/{view}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_with_and_without_scheme_and_view() {
        for (text, canonical) in [
            ("acme-prod", "builtin:acme-prod"),
            ("acme-prod/reporting", "builtin:acme-prod/reporting"),
            ("builtin:acme.prod_2/v1", "builtin:acme.prod_2/v1"),
        ] {
            assert_eq!(text.parse::<Reference>().unwrap().to_string(), canonical);
        }
    }

    #[test]
    fn refuses_unknown_schemes_and_bad_names() {
        assert_eq!("valt:kv/acme".parse::<Reference>(), Err(ReferenceError::Scheme("valt".into())));
        for bad in
            ["", "/view", "acme/", "acme/a/b", "../etc", "Acme", "acme prod", ":acme", "builtin:", "-a"]
        {
            assert!(bad.parse::<Reference>().is_err(), "{bad:?}");
        }
    }
}
