//! Reading the builtin file: the identity backend's side of it.

use async_trait::async_trait;

use super::crypto::{FileKeys, Place};
use super::file::{BuiltinError, BuiltinFile, State};
use super::format::{Identity, Key};
use crate::backend::{
    BackendError, Capabilities, Description, IdentityBackend, KeyInfo, Lease, ReadEntry, Reading, ViewInfo,
};
use crate::reference::{IdentityName, IdentityPath, KeyName, Scheme, ViewName};

#[async_trait]
impl IdentityBackend for BuiltinFile {
    fn scheme(&self) -> Scheme {
        Scheme::Builtin
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { names_without_values: true, versions: true, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        Ok(self.read_state().content.identities.keys().map(IdentityPath::from).collect())
    }

    async fn describe(&self, path: &IdentityPath) -> Result<Description, BackendError> {
        self.with(path, |name, _, identity| {
            let views =
                identity.views.iter().map(|(name, keys)| ViewInfo { name: name.clone(), keys: keys.clone() });
            Ok(Description {
                name: name.into(),
                keys: identity.keys.iter().map(|(key, stored)| info(key, stored)).collect(),
                views: views.collect(),
            })
        })
    }

    async fn read(
        &self,
        path: &IdentityPath,
        view: Option<&ViewName>,
        _: Option<&Lease>,
    ) -> Result<Reading, BackendError> {
        self.with(path, |name, state, identity| {
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
            Ok(Reading { entries: entries.collect::<Result<_, _>>()?, leased: vec![] })
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
    Ok(Reading { entries: entries.collect::<Result<_, _>>()?, leased: vec![] })
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
        path: &IdentityPath,
        look: impl FnOnce(&IdentityName, &State, &Identity) -> Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        let missing = || BackendError::NotFound(format!("the identity `{path}`"));
        let name: IdentityName = path.as_str().parse().map_err(|_| missing())?;
        let state = self.read_state();
        look(&name, &state, state.content.identities.get(&name).ok_or_else(missing)?)
    }
}
