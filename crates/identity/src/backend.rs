//! The trait of an identity backend: where names and values come from. The broker asks it for the keys of one view at the
//! start of one step; nothing is cached between steps, so that a rotation is seen at once.

use async_trait::async_trait;
use seal::payload::{Entry, Kind, Payload, PayloadError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::reference::{IdentityPath, IdentityRef, KeyName, Scheme, ViewName};

/// Where identities come from. Methods read; changing is each store's own matter (see [`crate::builtin::BuiltinFile`]).
/// [`crate::conformance`] is what each must do.
#[async_trait]
pub trait IdentityBackend: Send + Sync {
    /// The scheme in references.
    fn scheme(&self) -> Scheme;

    /// What this identity backend can do.
    fn capabilities(&self) -> Capabilities;

    /// The identities that can be listed, sorted; all pages of them, to a limit.
    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError>;

    /// Names and metadata of an identity, never a value.
    async fn describe(&self, identity: &IdentityPath) -> Result<Description, BackendError>;

    /// Takes a lease for one grant before anything is read under it, so that the caller can record it: what is read then ends
    /// with the lease, also where the caller dies in between. `None` where the identity needs none.
    async fn lease(&self, _identity: &IdentityPath) -> Result<Option<Lease>, BackendError> {
        Ok(None)
    }

    /// The keys of a view with their values, sorted by name; all keys without one. What [`IdentityBackend::lease`] gave for this
    /// identity is handed in.
    async fn read(
        &self,
        identity: &IdentityPath,
        view: Option<&ViewName>,
        lease: Option<&Lease>,
    ) -> Result<Reading, BackendError>;

    /// Renews a lease and what was read under it; returns for how many seconds the shortest of them lasts from now.
    async fn renew(&self, lease: &Leased) -> Result<u64, BackendError> {
        Err(BackendError::NotFound(format!("the lease `{}`", lease.id)))
    }

    /// Ends a lease: its parts are worth nothing when this returns. One that has ended already is no error.
    async fn revoke(&self, _lease: &Leased) -> Result<(), BackendError> {
        Ok(())
    }
}

/// What an identity backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Names can be learned without reading values.
    pub names_without_values: bool,
    /// Each key has a version that grows when its value changes.
    pub versions: bool,
    /// It hands out credentials with leases, made for the grant.
    pub leases: bool,
}

/// Why an identity backend gave nothing. Each says what to do; none holds a value. Names are for operators, not for the control
/// plane.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such identity, view or key.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The store refused the broker.
    #[error("{store} refused the broker {what}: {remedy}")]
    Denied {
        /// The identity backend.
        store: Scheme,
        /// What was asked.
        what: String,
        /// What to do.
        remedy: &'static str,
    },
    /// The store could not be asked.
    #[error("{store} cannot be reached at {place}: check the address, the network and its certificate")]
    Unreachable {
        /// The identity backend.
        store: Scheme,
        /// Its address.
        place: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The store took too long.
    #[error("{store} did not answer within {seconds} s: it is overloaded, or the network to it is")]
    Slow {
        /// The identity backend.
        store: Scheme,
        /// How long it was waited for.
        seconds: u64,
    },
    /// The store answered that it failed.
    #[error("{store} failed: {detail}")]
    Failed {
        /// The identity backend.
        store: Scheme,
        /// What it said of it, without a value.
        detail: String,
    },
    /// What is stored is damaged, was tampered with, or is in another form than is read here.
    #[error("what is stored is refused: {0}")]
    Corrupt(String),
    /// A credential of the broker's own for the store cannot be had.
    #[error("the broker has no credential for {store}: {detail}")]
    Credential {
        /// The identity backend.
        store: Scheme,
        /// What is missing and where it belongs.
        detail: String,
    },
    /// A key has no name that a step could see.
    #[error(
        "the key `{key}` of {identity} cannot name an environment variable: give it a name under [identity.keys] in backends.toml"
    )]
    Unmapped {
        /// The store's name of the key.
        key: String,
        /// The identity.
        identity: String,
    },
    /// Two keys have the same name for the step.
    #[error(
        "the keys `{first}` and `{second}` of {identity} both become {name}: rename one under [identity.keys] in backends.toml"
    )]
    Collides {
        /// The store's name of one.
        first: String,
        /// The store's name of the other.
        second: String,
        /// The identity.
        identity: String,
        /// What the step would see.
        name: KeyName,
    },
    /// There is too much of something.
    #[error("{what} is more than {limit}")]
    TooMuch {
        /// What.
        what: String,
        /// The limit with its unit.
        limit: &'static str,
    },
    /// The broker was not told how to reach such a store.
    #[error(
        "the broker has no identity backend for `{0}:`: add [{0}] to backends.toml in its folder and start it again"
    )]
    NotConfigured(Scheme),
    /// A value cannot be carried to a step.
    #[error("a value cannot be carried to a step: {0}")]
    Payload(#[from] PayloadError),
}

/// Names and metadata of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The identity.
    pub name: IdentityRef,
    /// Its keys, sorted by name.
    pub keys: Vec<KeyInfo>,
    /// Its views, sorted by name.
    pub views: Vec<ViewInfo>,
}

/// Metadata of a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyInfo {
    /// The key.
    pub name: KeyName,
    /// Whether it is secret; a plain setting is not redacted.
    pub secret: bool,
    /// Version, from 1; 0 where the store has none.
    pub version: u64,
    /// When its value was last set: milliseconds since the Unix epoch; absent where the store does not say.
    pub updated_ms: Option<i64>,
}

/// A view: the keys that it grants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewInfo {
    /// The view.
    pub name: ViewName,
    /// Keys in it, sorted.
    pub keys: Vec<KeyName>,
}

/// A key with its value. It has no `Debug`; the value is wiped when dropped.
#[derive(Clone)]
pub struct ReadEntry {
    /// Name and metadata.
    pub info: KeyInfo,
    /// The value.
    pub value: Zeroizing<Vec<u8>>,
}

/// What [`IdentityBackend::read`] found. It has no `Debug`.
#[derive(Clone, Default)]
pub struct Reading {
    /// The keys with their values, sorted by name.
    pub entries: Vec<ReadEntry>,
    /// What was read under a lease and has to be renewed with it.
    pub leased: Vec<LeasedPart>,
}

/// The public name of a lease, such as a token's accessor: it can be recorded, and gives access to nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseId(pub String);

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// A lease for one grant. It has no `Debug`; the token is wiped when dropped.
pub struct Lease {
    /// Its public name.
    pub id: LeaseId,
    /// What reads under it.
    pub token: Zeroizing<String>,
    /// How long it lasts unless it is renewed.
    pub seconds: u64,
}

/// Something that was read under a lease and ends by itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LeasedPart {
    /// Its name at the store; gives access to nothing.
    pub id: String,
    /// How long it lasts unless it is renewed.
    pub seconds: u64,
}

/// A lease that is held, as it is recorded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Leased {
    /// The identity backend.
    pub scheme: String,
    /// The lease.
    pub id: LeaseId,
    /// How long it lasts unless it is renewed.
    pub seconds: u64,
    /// What was read under it.
    pub parts: Vec<LeasedPart>,
}

/// The payload of a step from readings in the order of their cascade (system, workflow, run): per key, the last one wins.
pub fn payload_of(layers: &[Reading]) -> Result<Payload, PayloadError> {
    let mut payload = Payload::new();
    for (at, layer) in layers.iter().enumerate() {
        for entry in &layer.entries {
            let overridden = layers[at + 1..]
                .iter()
                .any(|later| later.entries.iter().any(|candidate| candidate.info.name == entry.info.name));
            if !overridden {
                let kind = if entry.info.secret { Kind::Secret } else { Kind::Setting };
                payload.push(Entry::environment(kind, entry.info.name.as_str(), entry.value.clone())?)?;
            }
        }
    }
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(entries: &[(&str, &str)]) -> Reading {
        let entries = entries.iter().map(|(name, value)| ReadEntry {
            info: KeyInfo { name: name.parse().unwrap(), secret: true, version: 1, updated_ms: None },
            value: Zeroizing::new(value.as_bytes().to_vec()),
        });
        Reading { entries: entries.collect(), leased: vec![] }
    }

    #[test]
    fn the_later_layer_wins_per_key() {
        let payload = payload_of(&[reading(&[("A", "1"), ("B", "1")]), reading(&[("B", "2"), ("C", "2")])])
            .ok()
            .unwrap();
        let found: Vec<_> = payload.entries().iter().map(|e| (e.name(), e.value())).collect();
        assert_eq!(found, [("A", &b"1"[..]), ("B", b"2"), ("C", b"2")]);
    }
}
