//! The trait of an identity backend: where names and values come from. The broker asks it for the keys of one view at the
//! start of one step; nothing is cached between steps, so that a rotation is seen at once.

use async_trait::async_trait;
use seal::payload::{Entry, Kind, Payload, PayloadError};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::reference::{IdentityName, KeyName, ViewName};

/// Where identities come from. Methods read; changing is each store's own matter (see [`crate::builtin::BuiltinFile`]).
#[async_trait]
pub trait IdentityBackend: Send + Sync {
    /// The scheme in references, such as `builtin`.
    fn scheme(&self) -> &'static str;

    /// What this identity backend can do.
    fn capabilities(&self) -> Capabilities;

    /// The identities, sorted by name.
    async fn list(&self) -> Result<Vec<IdentityName>, BackendError>;

    /// Names and metadata of an identity, never a value.
    async fn describe(&self, identity: &IdentityName) -> Result<Description, BackendError>;

    /// The keys of a view with their values, sorted by name; all keys without one.
    async fn read(&self, identity: &IdentityName, view: Option<&ViewName>) -> Result<Reading, BackendError>;
}

/// What an identity backend can do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Names can be learned without reading values.
    pub names_without_values: bool,
    /// Each key has a version that grows when its value changes.
    pub versions: bool,
    /// It keeps views itself.
    pub views: bool,
    /// Readings carry leases that can be revoked.
    pub leases: bool,
}

/// Why an identity backend gave nothing. No message holds a value; names are for operators, not for the control plane.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// There is no such identity, view or key.
    #[error("{0} does not exist")]
    NotFound(String),
    /// The store refused the broker.
    #[error("the store refused access to {0}")]
    Denied(String),
    /// The store did not answer.
    #[error("the store cannot be reached")]
    Unreachable(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is stored is damaged or was tampered with.
    #[error("the store is damaged or was tampered with: {0}")]
    Corrupt(String),
    /// A value cannot be carried to a step.
    #[error("a value cannot be carried to a step: {0}")]
    Payload(#[from] PayloadError),
}

/// Names and metadata of an identity.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Description {
    /// The identity.
    pub name: IdentityName,
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
    /// A lease to revoke when the step ends, where the store has them; opaque.
    pub lease: Option<String>,
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
        Reading { entries: entries.collect(), lease: None }
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
