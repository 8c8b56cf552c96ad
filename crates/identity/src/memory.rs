//! The fake identity backend: identities in memory, for tests of the broker and as the first to pass [`crate::conformance`].

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::backend::{
    BackendError, Capabilities, Description, IdentityBackend, KeyInfo, Lease, ReadEntry, Reading, ViewInfo,
};
use crate::reference::{IdentityPath, IdentityRef, KeyName, Scheme, ViewName};

/// Identities in memory.
#[derive(Default)]
pub struct MemoryBackend {
    identities: Mutex<BTreeMap<IdentityPath, Identity>>,
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
    pub fn set(&self, identity: &IdentityPath, key: &KeyName, secret: bool, value: &[u8]) {
        let mut identities = self.identities.lock().expect("no holder of this lock panics");
        let entries = &mut identities.entry(identity.clone()).or_default().entries;
        let version = entries.get(key).map_or(0, |entry| entry.info.version) + 1;
        let info = KeyInfo { name: key.clone(), secret, version, updated_ms: None };
        entries.insert(key.clone(), ReadEntry { info, value: Zeroizing::new(value.to_vec()) });
    }

    /// Removes a value; views keep its name.
    pub fn remove(&self, identity: &IdentityPath, key: &KeyName) {
        let mut identities = self.identities.lock().expect("no holder of this lock panics");
        if let Some(found) = identities.get_mut(identity) {
            found.entries.remove(key);
        }
    }

    /// Sets a view.
    pub fn set_view(&self, identity: &IdentityPath, view: &ViewName, keys: &[KeyName]) {
        let mut identities = self.identities.lock().expect("no holder of this lock panics");
        let mut keys = keys.to_vec();
        keys.sort();
        identities.entry(identity.clone()).or_default().views.insert(view.clone(), keys);
    }

    fn with<T>(
        &self,
        name: &IdentityPath,
        look: impl FnOnce(&Identity) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let identities = self.identities.lock().expect("no holder of this lock panics");
        look(identities.get(name).ok_or_else(|| BackendError::NotFound(format!("the identity `{name}`")))?)
    }
}

#[async_trait]
impl IdentityBackend for MemoryBackend {
    fn scheme(&self) -> Scheme {
        Scheme::Builtin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { names_without_values: true, versions: true, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        Ok(self.identities.lock().expect("no holder of this lock panics").keys().cloned().collect())
    }

    async fn describe(&self, name: &IdentityPath) -> Result<Description, BackendError> {
        self.with(name, |identity| {
            let views =
                identity.views.iter().map(|(name, keys)| ViewInfo { name: name.clone(), keys: keys.clone() });
            Ok(Description {
                name: IdentityRef::new(Scheme::Builtin, name.clone())
                    .map_err(|_| BackendError::NotFound(format!("the identity `{name}`")))?,
                keys: identity.entries.values().map(|entry| entry.info.clone()).collect(),
                views: views.collect(),
            })
        })
    }

    async fn read(
        &self,
        name: &IdentityPath,
        view: Option<&ViewName>,
        _: Option<&Lease>,
    ) -> Result<Reading, BackendError> {
        self.with(name, |identity| {
            let Some(view) = view else {
                return Ok(Reading { entries: identity.entries.values().cloned().collect(), leased: vec![] });
            };
            let keys = identity.views.get(view);
            let keys = keys.ok_or_else(|| BackendError::NotFound(format!("the view `{name}/{view}`")))?;
            let entries = keys.iter().map(|key| {
                let entry = identity.entries.get(key).cloned();
                entry.ok_or_else(|| {
                    BackendError::NotFound(format!("the key `{key}` of the view `{name}/{view}`"))
                })
            });
            Ok(Reading { entries: entries.collect::<Result<_, _>>()?, leased: vec![] })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conformance::{self, Fault, Holds, SETTING_KEY, Subject};

    #[async_trait]
    impl Subject for MemoryBackend {
        fn backend(&self) -> &dyn IdentityBackend {
            self
        }

        fn holds(&self) -> Holds {
            Holds { value_bytes: 64 * 1024, any_name: false, many: 200 }
        }

        fn path(&self, identity: &str) -> IdentityPath {
            identity.parse().unwrap()
        }

        async fn set(&self, identity: &str, key: &str, value: &[u8]) {
            MemoryBackend::set(self, &self.path(identity), &key.parse().unwrap(), key != SETTING_KEY, value);
        }

        async fn remove(&self, identity: &str, key: &str) {
            MemoryBackend::remove(self, &self.path(identity), &key.parse().unwrap());
        }

        async fn set_view(&self, identity: &str, view: &str, keys: &[&str]) {
            let keys: Vec<KeyName> = keys.iter().map(|key| key.parse().unwrap()).collect();
            MemoryBackend::set_view(self, &self.path(identity), &view.parse().unwrap(), &keys);
        }

        async fn fault(&self, _: Option<Fault>) -> bool {
            false
        }
    }

    #[tokio::test]
    async fn conforms() {
        conformance::check(&MemoryBackend::new()).await;
    }
}
