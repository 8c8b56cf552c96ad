//! Who calls, and what the caller may do: bearer tokens, roles, namespaces.
//!
//! A token's text has 256 random bits and is known to the client alone; the store has its SHA-256.

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;
use sha2::{Digest, Sha256};
use store::TokenHash;
use subtle::ConstantTimeEq;

use super::Api;
use super::model::Role;
use super::problem::{Kind, Problem};

/// Bytes of a token's text; longer ones are refused unread.
const TOKEN_LIMIT_BYTES: usize = 256;

/// Separates the role from the namespaces in the store's `role` text: `operator@acme,beta`.
const NAMESPACES_AFTER: char = '@';

/// Whoever sent a request with a valid token.
#[derive(Clone, Debug)]
pub(super) struct Caller {
    pub(super) token_name: String,
    pub(super) access: Access,
}

/// What a token allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Access {
    pub(super) role: Role,
    /// Empty means all.
    pub(super) namespaces: Vec<String>,
}

impl Access {
    /// As the store keeps it.
    pub(super) fn encode(&self) -> String {
        match self.namespaces.as_slice() {
            [] => self.role.name().to_owned(),
            some => format!("{}{NAMESPACES_AFTER}{}", self.role.name(), some.join(",")),
        }
    }

    /// From the store's text; `None` for a text that this version does not know, which then allows nothing.
    pub(super) fn decode(text: &str) -> Option<Access> {
        let (role, namespaces) = match text.split_once(NAMESPACES_AFTER) {
            Some((role, namespaces)) => (role, namespaces.split(',').map(str::to_owned).collect()),
            None => (text, Vec::new()),
        };
        Some(Access { role: Role::from_name(role)?, namespaces })
    }

    fn sees(&self, namespace: &str) -> bool {
        self.namespaces.is_empty() || self.namespaces.iter().any(|allowed| allowed == namespace)
    }
}

impl Caller {
    /// The caller has at least `role`.
    pub(super) fn require(&self, role: Role) -> Result<(), Problem> {
        if self.access.role >= role {
            return Ok(());
        }
        let detail = format!(
            "this needs the role {}; the token `{}` has {}",
            role.name(),
            self.token_name,
            self.access.role.name()
        );
        Err(Problem::new(Kind::Forbidden, detail)
            .hint("ask an admin for a token of that role: sagewai token create"))
    }

    /// The caller is an admin of everything: what concerns the whole installation is not for tokens of some namespaces.
    pub(super) fn require_whole_admin(&self) -> Result<(), Problem> {
        self.require(Role::Admin)?;
        if self.access.namespaces.is_empty() {
            return Ok(());
        }
        Err(Problem::new(Kind::Forbidden, "this concerns all namespaces; the token is bound to some")
            .hint("use an admin token without namespaces"))
    }

    /// The caller has at least `role` in `namespace`.
    pub(super) fn require_in(&self, role: Role, namespace: &str) -> Result<(), Problem> {
        self.require(role)?;
        if self.access.sees(namespace) {
            return Ok(());
        }
        let detail = format!(
            "the token `{}` is bound to {}, not to namespace `{namespace}`",
            self.token_name,
            self.access.namespaces.join(", ")
        );
        Err(Problem::new(Kind::Forbidden, detail).hint("ask an admin for a token of that namespace"))
    }

    /// Whether the caller may read what is in `namespace`.
    pub(super) fn sees(&self, namespace: &str) -> bool {
        self.access.sees(namespace)
    }

    /// The namespace a list is of: the one asked for, or the only one the caller has; `None` means all.
    pub(super) fn list_namespace(&self, wanted: Option<String>) -> Result<Option<String>, Problem> {
        match (wanted, self.access.namespaces.as_slice()) {
            (Some(namespace), _) => {
                self.require_in(Role::Viewer, &namespace)?;
                Ok(Some(namespace))
            }
            (None, []) => Ok(None),
            (None, [only]) => Ok(Some(only.clone())),
            (None, several) => Err(Problem::new(
                Kind::MalformedRequest,
                format!("name one namespace of {} with ?namespace=", several.join(", ")),
            )),
        }
    }
}

/// SHA-256 of a token's text, as the store keeps it.
pub(super) fn hash(token: &str) -> TokenHash {
    Sha256::digest(token.as_bytes()).into()
}

impl FromRequestParts<Api> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Problem> {
        let token = bearer(parts)?;
        let hash = hash(token);
        let unknown = || {
            Problem::new(Kind::Unauthenticated, "the token is not known: it may be mistyped, or revoked")
                .hint("ask an admin for a token: sagewai token create")
        };
        if let Some(caller) = api.callers.find(&hash) {
            return Ok(caller);
        }
        let asked = api.callers.ask();
        let found = api.store.token_by_hash(&hash).await?.ok_or_else(unknown)?;
        if !bool::from(found.hash.ct_eq(&hash)) {
            return Err(unknown());
        }
        let access = Access::decode(&found.role).ok_or_else(unknown)?;
        let caller = Caller { token_name: found.name, access };
        api.callers.note(asked, hash, &caller);
        Ok(caller)
    }
}

fn bearer(parts: &Parts) -> Result<&str, Problem> {
    let refuse = |detail: &str| {
        Problem::new(Kind::Unauthenticated, detail).hint("send the header `Authorization: Bearer TOKEN`")
    };
    let value =
        parts.headers.get(header::AUTHORIZATION).ok_or_else(|| refuse("the request carries no token"))?;
    let text = value.to_str().map_err(|_| refuse("the Authorization header is not ASCII"))?;
    let (scheme, token) =
        text.split_once(' ').ok_or_else(|| refuse("the Authorization header has no token"))?;
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(refuse("the Authorization header is not of the scheme Bearer"));
    }
    let token = token.trim();
    if token.is_empty() || token.len() > TOKEN_LIMIT_BYTES {
        return Err(refuse("the token is empty or too long"));
    }
    Ok(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn access_survives_the_store() {
        for namespaces in [vec![], vec!["acme".to_owned()], vec!["acme".to_owned(), "beta".to_owned()]] {
            let access = Access { role: Role::Operator, namespaces };
            assert_eq!(Access::decode(&access.encode()), Some(access));
        }
        assert_eq!(Access::decode("emperor"), None);
    }

    #[test]
    fn a_bound_token_sees_its_namespaces_only() {
        let access = Access { role: Role::Admin, namespaces: vec!["acme".to_owned()] };
        let caller = Caller { token_name: "t".to_owned(), access };
        assert!(caller.require_in(Role::Admin, "acme").is_ok());
        assert!(caller.require_in(Role::Viewer, "beta").is_err());
        assert!(caller.require_whole_admin().is_err());
        assert_eq!(caller.list_namespace(None).unwrap().as_deref(), Some("acme"));
    }
}
