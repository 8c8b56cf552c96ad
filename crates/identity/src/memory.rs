//! The fake identity backend: identities in memory, for tests of the broker and as the first to pass [`crate::conformance`].

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::backend::{
    BackendError, Capabilities, Description, IdentityBackend, KeyInfo, ReadEntry, Reading, ViewInfo,
};
use crate::reference::{IdentityName, KeyName, ViewName};

/// Identities in memory.
#[derive(Default)]
pub struct MemoryBackend {
    identities: Mutex<BTreeMap<IdentityName, Identity>>,
}

#[derive(Default)]
struct Identity {
    entries: BTreeMap<KeyName, ReadEntry>,
    views: BTreeMap<ViewName, Vec<KeyName>>,
}

impl MemoryBackend {
    /// Without identities.
    pub fn new() -> Self {
        MemoryBackend::default()
    }

    /// Sets a value; the key's version grows.
    pub fn set(&self, identity: &IdentityName, key: &KeyName, secret: bool, value: &[u8]) {
        let mut identities = self.identities.lock().expect("no holder of this lock panics");
        let entries = &mut identities.entry(identity.clone()).or_default().entries;
        let version = entries.get(key).map_or(0, |entry| entry.info.version) + 1;
        let info = KeyInfo { name: key.clone(), secret, version, updated_ms: None };
        entries.insert(key.clone(), ReadEntry { info, value: Zeroizing::new(value.to_vec()) });
    }

    /// Sets a view.
    pub fn set_view(&self, identity: &IdentityName, view: &ViewName, keys: &[KeyName]) {
        let mut identities = self.identities.lock().expect("no holder of this lock panics");
        let mut keys = keys.to_vec();
        keys.sort();
        identities.entry(identity.clone()).or_default().views.insert(view.clone(), keys);
    }

    fn with<T>(
        &self,
        name: &IdentityName,
        look: impl FnOnce(&Identity) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let identities = self.identities.lock().expect("no holder of this lock panics");
        look(identities.get(name).ok_or_else(|| BackendError::NotFound(format!("the identity `{name}`")))?)
    }
}

#[async_trait]
impl IdentityBackend for MemoryBackend {
    fn scheme(&self) -> &'static str {
        "builtin"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { names_without_values: true, versions: true, views: true, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityName>, BackendError> {
        Ok(self.identities.lock().expect("no holder of this lock panics").keys().cloned().collect())
    }

    async fn describe(&self, name: &IdentityName) -> Result<Description, BackendError> {
        self.with(name, |identity| {
            let views =
                identity.views.iter().map(|(name, keys)| ViewInfo { name: name.clone(), keys: keys.clone() });
            Ok(Description {
                name: name.clone(),
                keys: identity.entries.values().map(|entry| entry.info.clone()).collect(),
                views: views.collect(),
            })
        })
    }

    async fn read(&self, name: &IdentityName, view: Option<&ViewName>) -> Result<Reading, BackendError> {
        self.with(name, |identity| {
            let Some(view) = view else {
                return Ok(Reading { entries: identity.entries.values().cloned().collect(), lease: None });
            };
            let keys = identity.views.get(view);
            let keys = keys.ok_or_else(|| BackendError::NotFound(format!("the view `{name}/{view}`")))?;
            let entries = keys.iter().map(|key| {
                let entry = identity.entries.get(key).cloned();
                entry.ok_or_else(|| {
                    BackendError::NotFound(format!("the key `{key}` of the view `{name}/{view}`"))
                })
            });
            Ok(Reading { entries: entries.collect::<Result<_, _>>()?, lease: None })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance;

    #[tokio::test]
    async fn conforms() {
        let backend = MemoryBackend::new();
        for change in conformance::changes() {
            match change {
                conformance::Change::Set { identity, key, secret, value } => {
                    backend.set(&identity, &key, secret, value)
                }
                conformance::Change::View { identity, view, keys } => {
                    backend.set_view(&identity, &view, &keys)
                }
            }
        }
        conformance::check(&backend).await;
    }
}
