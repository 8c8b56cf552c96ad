//! Authentication policies. Literal credentials never show in `Debug`.

use std::fmt;

use protocol::step::HttpScheme;

use crate::expression::Template;

/// A policy: literal credentials, or the name of a secret that is taken as an identity reference (design §5).
#[derive(Clone)]
pub enum Authentication {
    /// RFC 7617.
    Basic(Credentials<UserPassword>),
    /// RFC 6750.
    Bearer(Credentials<Template>),
    /// RFC 7616.
    Digest(Credentials<UserPassword>),
    /// OAuth 2; its settings, an object.
    OAuth2(Credentials<Template>),
    /// OpenID Connect; its settings, an object.
    Oidc(Credentials<Template>),
}

/// Where a policy's credentials come from.
#[derive(Clone)]
pub enum Credentials<T> {
    /// The document states them.
    Literal(T),
    /// `use`: the name of a secret.
    Secret(String),
}

/// User name and password, each text or an expression.
#[derive(Clone)]
pub struct UserPassword {
    /// User name.
    pub username: Template,
    /// Password.
    pub password: Template,
}

impl Authentication {
    /// The DSL's word for the scheme.
    pub fn scheme(&self) -> &'static str {
        match self {
            Authentication::Basic(_) => "basic",
            Authentication::Bearer(_) => "bearer",
            Authentication::Digest(_) => "digest",
            Authentication::OAuth2(_) => "oauth2",
            Authentication::Oidc(_) => "oidc",
        }
    }

    /// The scheme.
    pub fn http_scheme(&self) -> HttpScheme {
        match self {
            Authentication::Basic(_) => HttpScheme::Basic,
            Authentication::Bearer(_) => HttpScheme::Bearer,
            Authentication::Digest(_) => HttpScheme::Digest,
            Authentication::OAuth2(_) => HttpScheme::OAuth2,
            Authentication::Oidc(_) => HttpScheme::Oidc,
        }
    }

    /// The secret it takes its credentials from, if it does.
    pub fn secret(&self) -> Option<&str> {
        match self {
            Authentication::Basic(Credentials::Secret(name))
            | Authentication::Digest(Credentials::Secret(name))
            | Authentication::Bearer(Credentials::Secret(name))
            | Authentication::OAuth2(Credentials::Secret(name))
            | Authentication::Oidc(Credentials::Secret(name)) => Some(name),
            _ => None,
        }
    }
}

impl fmt::Debug for Authentication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.secret() {
            Some(name) => write!(f, "{}(use {name})", self.scheme()),
            None => write!(f, "{}(..)", self.scheme()),
        }
    }
}
