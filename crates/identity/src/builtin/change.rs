//! Changing the builtin file: each method is one durable change of the whole file.

use seal::payload::{Entry, Kind};
use zeroize::Zeroizing;

use super::crypto::{FileKeys, Place};
use super::file::{BuiltinError, BuiltinFile, Expect, State, random_data_key};
use super::format::{self, Identity, Key, Revocation};
use super::read::{decrypt_all, place};
use super::unlock;
use crate::backend::payload_of;
use crate::policy::Policy;
use crate::reference::{IdentityName, IdentityRef, KeyName, ViewName};

impl BuiltinFile {
    /// Makes an identity without keys.
    pub fn create_identity(&self, name: &IdentityName, policy: Policy) -> Result<(), BuiltinError> {
        policy.check()?;
        self.change(|_, content| {
            if content.identities.len() >= format::MAX_IDENTITIES {
                return Err(BuiltinError::Limit("at most 10000 identities"));
            }
            if content.identities.contains_key(name) {
                return Err(BuiltinError::Exists(format!("the identity `{name}`")));
            }
            content.identities.insert(name.clone(), Identity { policy, ..Identity::default() });
            Ok(())
        })
    }

    /// Removes an identity with its keys.
    pub fn remove_identity(&self, name: &IdentityName) -> Result<(), BuiltinError> {
        self.change(|_, content| content.identities.remove(name).map(drop).ok_or_else(|| missing(name)))
    }

    /// Sets a value; returns the key's new version.
    pub fn set(
        &self,
        name: &IdentityName,
        key: &KeyName,
        secret: bool,
        expect: Expect,
        value: Zeroizing<Vec<u8>>,
        now_ms: i64,
    ) -> Result<u64, BuiltinError> {
        let kind = if secret { Kind::Secret } else { Kind::Setting };
        Entry::environment(kind, key.as_str(), value.clone())?;
        self.change(|keys, content| {
            let identity = content.identities.get_mut(name).ok_or_else(|| missing(name))?;
            let version = match (identity.keys.get(key), expect) {
                (Some(_), Expect::New) => {
                    return Err(BuiltinError::Exists(format!("the key `{key}` of `{name}`")));
                }
                (None, Expect::Existing) => return Err(missing_key(name, key)),
                (Some(existing), _) => existing.version + 1,
                // A version is not used twice, not even after a removal.
                (None, _) => identity.retired.remove(key).unwrap_or(0) + 1,
            };
            let place = Place { identity: name.as_str(), key: key.as_str(), secret, version };
            let value = keys.encrypt(place, &value).map_err(|_| BuiltinError::NoRandomness)?;
            identity.keys.insert(key.clone(), Key { secret, version, updated_ms: now_ms, value });
            payload_of(&[decrypt_all(keys, name, identity)?])?;
            Ok(version)
        })
    }

    /// Removes a key, also from the views.
    pub fn remove_key(&self, name: &IdentityName, key: &KeyName) -> Result<(), BuiltinError> {
        self.change(|_, content| {
            let identity = content.identities.get_mut(name).ok_or_else(|| missing(name))?;
            let removed = identity.keys.remove(key).ok_or_else(|| missing_key(name, key))?;
            identity.retired.insert(key.clone(), removed.version);
            for keys in identity.views.values_mut() {
                keys.retain(|other| other != key);
            }
            Ok(())
        })
    }

    /// Sets a view to these keys, each of which must be there.
    pub fn set_view(
        &self,
        name: &IdentityName,
        view: &ViewName,
        keys: &[KeyName],
    ) -> Result<(), BuiltinError> {
        self.change(|_, content| {
            let identity = content.identities.get_mut(name).ok_or_else(|| missing(name))?;
            if let Some(absent) = keys.iter().find(|key| !identity.keys.contains_key(key)) {
                return Err(missing_key(name, absent));
            }
            if identity.views.len() >= format::MAX_VIEWS && !identity.views.contains_key(view) {
                return Err(BuiltinError::Limit("at most 256 views in an identity"));
            }
            let mut keys = keys.to_vec();
            keys.sort();
            keys.dedup();
            identity.views.insert(view.clone(), keys);
            Ok(())
        })
    }

    /// Removes a view.
    pub fn remove_view(&self, name: &IdentityName, view: &ViewName) -> Result<(), BuiltinError> {
        self.change(|_, content| {
            let identity = content.identities.get_mut(name).ok_or_else(|| missing(name))?;
            let missing = || BuiltinError::NotFound(format!("the view `{name}/{view}`"));
            identity.views.remove(view).map(drop).ok_or_else(missing)
        })
    }

    /// Sets the policy of an identity of any identity backend.
    pub fn set_policy(&self, identity: &IdentityRef, policy: Policy) -> Result<(), BuiltinError> {
        policy.check()?;
        self.change_guard(identity, |old, _| *old = policy)
    }

    /// Revokes an identity of any identity backend, or restores it with `None`.
    pub fn set_revoked(
        &self,
        identity: &IdentityRef,
        revoked: Option<Revocation>,
    ) -> Result<(), BuiltinError> {
        self.change_guard(identity, |_, old| *old = revoked)
    }

    /// Forgets policy and revocation of an identity of another identity backend: nobody may use it then.
    pub fn remove_guard(&self, identity: &IdentityRef) -> Result<(), BuiltinError> {
        let missing = || BuiltinError::NotFound(format!("a policy of `{identity}`"));
        self.change(|_, content| content.guards.remove(identity).map(drop).ok_or_else(missing))
    }

    fn change_guard(
        &self,
        identity: &IdentityRef,
        make: impl FnOnce(&mut Policy, &mut Option<Revocation>),
    ) -> Result<(), BuiltinError> {
        self.change(|_, content| {
            if let Some(name) = identity.builtin_name() {
                let found = content.identities.get_mut(&name).ok_or_else(|| missing(&name))?;
                make(&mut found.policy, &mut found.revoked);
                return Ok(());
            }
            if content.guards.len() >= format::MAX_IDENTITIES && !content.guards.contains_key(identity) {
                return Err(BuiltinError::Limit("at most 10000 policies of identities elsewhere"));
            }
            let guard = content.guards.entry(identity.clone()).or_default();
            make(&mut guard.policy, &mut guard.revoked);
            Ok(())
        })
    }

    /// Replaces the data key, encrypts every value anew, and wraps it to `recipients`: after a recipient is lost or leaves.
    pub fn rotate_data_key(&self, recipients: &[String]) -> Result<(), BuiltinError> {
        let mut state = self.state.write().expect("no holder of this lock panics");
        let data_key = random_data_key()?;
        let mut content = state.content.clone();
        content.data_key = unlock::wrap(&data_key, recipients)?;
        content.recipients = recipients.to_vec();
        let keys = FileKeys::derive(data_key, &content.file_id);
        for (name, identity) in &mut content.identities {
            for (key, stored) in &mut identity.keys {
                let place = place(name, key, stored);
                let value = state.keys.decrypt(place, &stored.value);
                let value = value.map_err(|_| BuiltinError::Value(format!("{name} {key}")))?;
                stored.value = keys.encrypt(place, &value).map_err(|_| BuiltinError::NoRandomness)?;
            }
        }
        content.counter += 1;
        self.write(&content, &keys)?;
        *state = State { keys, content };
        self.write_anchor(&state)
    }
}

pub(super) fn missing(name: &IdentityName) -> BuiltinError {
    BuiltinError::NotFound(format!("the identity `{name}`"))
}

fn missing_key(name: &IdentityName, key: &KeyName) -> BuiltinError {
    BuiltinError::NotFound(format!("the key `{key}` of `{name}`"))
}
