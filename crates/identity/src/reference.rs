//! How a document names an identity: `acme-prod`, `acme-prod/reporting`, `vault:kv/sagewai/acme-prod/reporting`. The scheme names
//! the identity backend; without one it is the builtin file. The last segment may be a view: of the builtin file always, of
//! another identity backend where what stands before it is an identity that the broker knows.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest name of an identity of the builtin file, or of a view, bytes.
pub const MAX_NAME_BYTES: usize = 64;
/// Longest path of an identity within its store, bytes.
pub const MAX_PATH_BYTES: usize = 512;

/// Which identity backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// The builtin encrypted file.
    Builtin,
    /// Vault or OpenBao.
    Vault,
    /// AWS Secrets Manager.
    AwsSm,
    /// Files encrypted by SOPS.
    Sops,
    /// 1Password through a Connect server.
    OnePassword,
    /// Bitwarden Secrets Manager.
    Bitwarden,
}

impl Scheme {
    /// Every scheme.
    pub const ALL: [Scheme; 6] =
        [Scheme::Builtin, Scheme::Vault, Scheme::AwsSm, Scheme::Sops, Scheme::OnePassword, Scheme::Bitwarden];

    /// As it is written in references.
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Builtin => "builtin",
            Scheme::Vault => "vault",
            Scheme::AwsSm => "aws-sm",
            Scheme::Sops => "sops",
            Scheme::OnePassword => "1password",
            Scheme::Bitwarden => "bitwarden",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a reference or a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// The scheme is of no identity backend.
    #[error(
        "no identity backend has the scheme `{0}:`; there are builtin, vault, aws-sm, sops, 1password and bitwarden"
    )]
    Scheme(String),
    /// A name has characters it may not have.
    #[error(
        "`{0}` is not a name: use 1 to 64 lower-case letters, digits, `-`, `_`, `.`, beginning with a letter or digit"
    )]
    Name(String),
    /// A path is empty, too long, or has a segment it may not have.
    #[error(
        "`{0}` is not the path of an identity: use 1 to 512 bytes in segments between `/`, none of them empty, `.` or `..`"
    )]
    Path(String),
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
    /// The name of an identity of the builtin file, such as `acme-prod`.
    IdentityName,
    is_name,
    ReferenceError::Name
);
name!(
    /// Where an identity is within its store, such as `kv/sagewai/acme-prod`; any language's letters.
    IdentityPath,
    is_path,
    ReferenceError::Path
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

fn is_path(text: &str) -> bool {
    let segment = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.trim() == segment
            && !segment.chars().any(|c| c.is_control() || matches!(c, '\\' | '\u{2028}' | '\u{2029}'))
    };
    text.len() <= MAX_PATH_BYTES && text.split('/').all(segment)
}

impl From<&IdentityName> for IdentityPath {
    fn from(name: &IdentityName) -> Self {
        IdentityPath(name.0.clone())
    }
}

/// An identity, whole: its identity backend and where it is there. Written `acme-prod` for the builtin file, `vault:kv/acme`
/// for the others.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct IdentityRef {
    scheme: Scheme,
    path: IdentityPath,
}

impl IdentityRef {
    /// Of an identity backend and a path; a path in the builtin file is a name.
    pub fn new(scheme: Scheme, path: IdentityPath) -> Result<Self, ReferenceError> {
        if scheme == Scheme::Builtin {
            path.as_str().parse::<IdentityName>()?;
        }
        Ok(IdentityRef { scheme, path })
    }

    /// The identity backend.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Where it is within its store.
    pub fn path(&self) -> &IdentityPath {
        &self.path
    }

    /// Its name, where it is of the builtin file.
    pub fn builtin_name(&self) -> Option<IdentityName> {
        (self.scheme == Scheme::Builtin).then(|| IdentityName(self.path.0.clone()))
    }
}

impl From<&IdentityName> for IdentityRef {
    fn from(name: &IdentityName) -> Self {
        IdentityRef { scheme: Scheme::Builtin, path: name.into() }
    }
}

impl FromStr for IdentityRef {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (scheme, path) = split_scheme(text)?;
        match scheme {
            Scheme::Builtin => Ok((&path.parse::<IdentityName>()?).into()),
            scheme => Ok(IdentityRef { scheme, path: path.parse()? }),
        }
    }
}

impl TryFrom<String> for IdentityRef {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<IdentityRef> for String {
    fn from(identity: IdentityRef) -> String {
        identity.to_string()
    }
}

impl fmt::Display for IdentityRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.scheme {
            Scheme::Builtin => f.write_str(self.path.as_str()),
            scheme => write!(f, "{scheme}:{}", self.path),
        }
    }
}

/// A parsed reference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The identity.
    pub identity: IdentityRef,
    /// The view; absent for all keys.
    pub view: Option<ViewName>,
}

impl Reference {
    /// Parses what a document says. `is_known` tells whether the broker knows an identity outside of the builtin file: only
    /// then can its last segment be told from a view. What is known neither way is taken as an identity without a view.
    pub fn parse(text: &str, is_known: impl Fn(&IdentityRef) -> bool) -> Result<Self, ReferenceError> {
        let (scheme, path) = split_scheme(text)?;
        if scheme == Scheme::Builtin {
            let (name, view) = match path.split_once('/') {
                None => (path, None),
                Some((name, view)) => (name, Some(view.parse()?)),
            };
            return Ok(Reference { identity: (&name.parse::<IdentityName>()?).into(), view });
        }
        let whole = IdentityRef { scheme, path: path.parse()? };
        if !is_known(&whole)
            && let Some((before, last)) = path.rsplit_once('/')
            && let (Ok(path), Ok(view)) = (before.parse(), last.parse::<ViewName>())
        {
            let identity = IdentityRef { scheme, path };
            if is_known(&identity) {
                return Ok(Reference { identity, view: Some(view) });
            }
        }
        Ok(Reference { identity: whole, view: None })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.identity.fmt(f)?;
        self.view.as_ref().map_or(Ok(()), |view| write!(f, "/{view}"))
    }
}

fn split_scheme(text: &str) -> Result<(Scheme, &str), ReferenceError> {
    let Some((scheme, path)) = text.split_once(':') else { return Ok((Scheme::Builtin, text)) };
    let known = Scheme::ALL.into_iter().find(|known| known.as_str() == scheme);
    Ok((known.ok_or_else(|| ReferenceError::Scheme(scheme.chars().take(64).collect()))?, path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Reference, ReferenceError> {
        let known = ["vault:kv/acme", "vault:kv/acme/prod", "1password:Tresor Köln/Zugang"];
        Reference::parse(text, |identity| known.contains(&identity.to_string().as_str()))
    }

    #[test]
    fn a_view_is_told_from_a_path() {
        for (text, identity, view) in [
            ("acme-prod", "acme-prod", None),
            ("acme-prod/reporting", "acme-prod", Some("reporting")),
            ("builtin:acme.prod_2/v1", "acme.prod_2", Some("v1")),
            ("vault:kv/acme", "vault:kv/acme", None),
            ("vault:kv/acme/reporting", "vault:kv/acme", Some("reporting")),
            ("vault:kv/acme/prod", "vault:kv/acme/prod", None),
            ("vault:kv/acme/prod/reporting", "vault:kv/acme/prod", Some("reporting")),
            ("vault:kv/other/reporting", "vault:kv/other/reporting", None),
            ("1password:Tresor Köln/Zugang/lesen", "1password:Tresor Köln/Zugang", Some("lesen")),
        ] {
            let found = parse(text).unwrap();
            assert_eq!(
                (found.identity.to_string().as_str(), found.view.as_ref().map(ViewName::as_str)),
                (identity, view)
            );
            assert_eq!(found.identity.to_string().parse::<IdentityRef>().unwrap(), found.identity);
        }
    }

    #[test]
    fn refuses_unknown_schemes_and_bad_names() {
        assert_eq!(parse("valt:kv/acme"), Err(ReferenceError::Scheme("valt".into())));
        for bad in [
            "",
            "/view",
            "acme/",
            "acme/a/b",
            "../etc",
            "Acme",
            "acme prod",
            ":acme",
            "builtin:",
            "-a",
            "vault:",
            "vault:/a",
            "vault:a//b",
            "sops:../etc/shadow",
            "sops:a/../b",
            "vault:a\nb",
            "vault:a/ ",
            "sops:a\\b",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
        assert!(parse(&format!("vault:{}", "a".repeat(513))).is_err());
    }
}
