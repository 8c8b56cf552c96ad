//! Reading the builtin file: the identity backend's side of it.

use async_trait::async_trait;

use super::crypto::{FileKeys, Place};
use super::file::{BuiltinError, BuiltinFile, State};
use super::format::{Identity, Key};
use crate::backend::{
    BackendError, Capabilities, Description, IdentityBackend, KeyInfo, ReadEntry, Reading, ViewInfo,
};
use crate::reference::{IdentityName, KeyName, ViewName};

#[async_trait]
impl IdentityBackend for BuiltinFile {
    fn scheme(&self) -> &'static str {
        "builtin"
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { names_without_values: true, versions: true, views: true, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityName>, BackendError> {
        Ok(self.read_state().content.identities.keys().cloned().collect())
    }

    async fn describe(&self, name: &IdentityName) -> Result<Description, BackendError> {
        self.with(name, |_, identity| {
            let views =
                identity.views.iter().map(|(name, keys)| ViewInfo { name: name.clone(), keys: keys.clone() });
            Ok(Description {
                name: name.clone(),
                keys: identity.keys.iter().map(|(key, stored)| info(key, stored)).collect(),
                views: views.collect(),
            })
        })
    }

    async fn read(&self, name: &IdentityName, view: Option<&ViewName>) -> Result<Reading, BackendError> {
        self.with(name, |state, identity| {
            let granted: Vec<&KeyName> = match view {
                None => identity.keys.keys().collect(),
                Some(view) => {
                    let keys = identity.views.get(view);
                    let missing = || BackendError::NotFound(format!("the view `{name}/{view}`"));
                    keys.ok_or_else(missing)?.iter().collect()
                }
            };
            let entries = granted.into_iter().map(|key| {
                let missing = || BackendError::NotFound(format!("the key `{key}` of `{name}`"));
                decrypt(&state.keys, name, key, identity.keys.get(key).ok_or_else(missing)?)
            });
            Ok(Reading { entries: entries.collect::<Result<_, _>>()?, lease: None })
        })
    }
}

pub(super) fn decrypt_all(
    keys: &FileKeys,
    name: &IdentityName,
    identity: &Identity,
) -> Result<Reading, BuiltinError> {
    let entries = identity.keys.iter().map(|(key, stored)| {
        decrypt(keys, name, key, stored).map_err(|_| BuiltinError::Value(format!("{name} {key}")))
    });
    Ok(Reading { entries: entries.collect::<Result<_, _>>()?, lease: None })
}

fn decrypt(
    keys: &FileKeys,
    name: &IdentityName,
    key: &KeyName,
    stored: &Key,
) -> Result<ReadEntry, BackendError> {
    let value = keys.decrypt(place(name, key, stored), &stored.value);
    let value = value
        .map_err(|_| BackendError::Corrupt(format!("the value of `{name} {key}` was changed or moved")))?;
    Ok(ReadEntry { info: info(key, stored), value })
}

pub(super) fn place<'a>(name: &'a IdentityName, key: &'a KeyName, stored: &Key) -> Place<'a> {
    Place { identity: name.as_str(), key: key.as_str(), secret: stored.secret, version: stored.version }
}

fn info(key: &KeyName, stored: &Key) -> KeyInfo {
    KeyInfo {
        name: key.clone(),
        secret: stored.secret,
        version: stored.version,
        updated_ms: Some(stored.updated_ms),
    }
}

impl BuiltinFile {
    fn with<T>(
        &self,
        name: &IdentityName,
        look: impl FnOnce(&State, &Identity) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let state = self.read_state();
        let identity = state.content.identities.get(name);
        look(&state, identity.ok_or_else(|| BackendError::NotFound(format!("the identity `{name}`")))?)
    }
}
