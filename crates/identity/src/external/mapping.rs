//! From a store's names to what a step sees: names of environment variables, which of them are plain settings, which values are
//! base64 of bytes, and views. Pure.

use std::collections::{BTreeMap, BTreeSet};

use base64ct::{Base64, Encoding};
use seal::payload::is_environment_name;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::store::{StoredKey, StoredReading};
use crate::backend::{BackendError, KeyInfo, ReadEntry, Reading, ViewInfo};
use crate::reference::{IdentityRef, KeyName, ViewName};

/// Most keys, settings, views or keys of a view that a mapping may have.
pub const MAX_NAMES: usize = 1024;

/// What a key is called that the mapping does not name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Naming {
    /// As in the store; one that cannot name an environment variable is an error.
    #[default]
    AsIs,
    /// In capitals, with `_` for what is not a letter or digit: `db-password` becomes `DB_PASSWORD`.
    UpperSnake,
    /// It is left out.
    Listed,
}

/// What one key of the store becomes: `"NAME"`, or `{ name = "NAME", base64 = true }`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// What the step sees.
    pub name: KeyName,
    /// The store holds base64 of the value's bytes.
    pub base64: bool,
}

/// The mapping of one identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mapping {
    /// For keys that are not in `keys`.
    pub naming: Naming,
    /// By the store's names.
    pub keys: BTreeMap<String, Target>,
    /// Names that are plain settings: they are not redacted.
    pub settings: BTreeSet<KeyName>,
    /// Views, by the names that a step sees.
    pub views: BTreeMap<ViewName, BTreeSet<KeyName>>,
}

impl Mapping {
    /// The keys of a view; `None` is all keys.
    pub fn view(
        &self,
        identity: &IdentityRef,
        view: Option<&ViewName>,
    ) -> Result<Option<&BTreeSet<KeyName>>, BackendError> {
        let Some(view) = view else { return Ok(None) };
        let missing = || BackendError::NotFound(format!("the view `{identity}/{view}` in backends.toml"));
        self.views.get(view).map(Some).ok_or_else(missing)
    }

    /// The store's names of these keys, where they can be told without asking the store.
    pub fn stored_names(&self, keys: &BTreeSet<KeyName>) -> Option<BTreeSet<String>> {
        let stored_name = |key: &KeyName| {
            let named = self.keys.iter().find(|(_, target)| target.name == *key);
            match (named, self.naming) {
                (Some((stored, _)), _) => Some(stored.clone()),
                (None, Naming::AsIs | Naming::Listed) => Some(key.to_string()),
                (None, Naming::UpperSnake) => None,
            }
        };
        keys.iter().map(stored_name).collect()
    }

    /// Names and metadata as a step sees them, sorted.
    pub fn infos(&self, identity: &IdentityRef, stored: &[StoredKey]) -> Result<Vec<KeyInfo>, BackendError> {
        let targets = self.targets(identity, stored)?;
        Ok(targets.into_iter().map(|(name, (key, _))| self.info(&name, key)).collect())
    }

    /// The views, sorted.
    pub fn view_infos(&self) -> Vec<ViewInfo> {
        let info = |(name, keys): (&ViewName, &BTreeSet<KeyName>)| ViewInfo {
            name: name.clone(),
            keys: keys.iter().cloned().collect(),
        };
        self.views.iter().map(info).collect()
    }

    /// Values as a step sees them, sorted; of a view exactly its keys, each of which must be there.
    pub fn reading(
        &self,
        identity: &IdentityRef,
        granted: Option<&BTreeSet<KeyName>>,
        stored: StoredReading,
    ) -> Result<Reading, BackendError> {
        let keys: Vec<StoredKey> = stored.values.iter().map(|value| value.key.clone()).collect();
        // What the view does not grant may have any name.
        let wanted = granted.and_then(|granted| self.stored_names(granted));
        let relevant: Vec<StoredKey> = match &wanted {
            None => keys,
            Some(wanted) => keys.into_iter().filter(|key| wanted.contains(&key.name)).collect(),
        };
        let targets = self.targets(identity, &relevant)?;
        if let Some(absent) = granted.into_iter().flatten().find(|key| !targets.contains_key(*key)) {
            return Err(BackendError::NotFound(format!("the key `{absent}` of `{identity}`")));
        }
        let mut values: BTreeMap<String, Zeroizing<Vec<u8>>> =
            stored.values.into_iter().map(|value| (value.key.name, value.value)).collect();
        let mut entries = Vec::new();
        for (name, (key, base64)) in targets {
            if granted.is_some_and(|granted| !granted.contains(&name)) {
                continue;
            }
            let value = values.remove(&key.name).unwrap_or_default();
            let value = if base64 { decoded(identity, &key.name, &value)? } else { value };
            entries.push(ReadEntry { info: self.info(&name, key), value });
        }
        Ok(Reading { entries, leased: stored.leased })
    }

    fn info(&self, name: &KeyName, key: &StoredKey) -> KeyInfo {
        KeyInfo {
            name: name.clone(),
            secret: !self.settings.contains(name),
            version: key.version,
            updated_ms: key.updated_ms,
        }
    }

    fn targets<'a>(
        &self,
        identity: &IdentityRef,
        stored: &'a [StoredKey],
    ) -> Result<BTreeMap<KeyName, (&'a StoredKey, bool)>, BackendError> {
        let mut targets: BTreeMap<KeyName, (&StoredKey, bool)> = BTreeMap::new();
        for key in stored {
            let Some(target) = self.target(identity, &key.name)? else { continue };
            if let Some((other, _)) = targets.get(&target.name) {
                return Err(BackendError::Collides {
                    first: other.name.clone(),
                    second: key.name.clone(),
                    identity: identity.to_string(),
                    name: target.name,
                });
            }
            targets.insert(target.name, (key, target.base64));
        }
        Ok(targets)
    }

    fn target(&self, identity: &IdentityRef, stored: &str) -> Result<Option<Target>, BackendError> {
        if let Some(target) = self.keys.get(stored) {
            return Ok(Some(target.clone()));
        }
        let name = match self.naming {
            Naming::Listed => return Ok(None),
            Naming::AsIs => stored.to_owned(),
            Naming::UpperSnake => upper_snake(stored),
        };
        let unmapped = |_| BackendError::Unmapped { key: stored.into(), identity: identity.to_string() };
        Ok(Some(Target { name: name.parse().map_err(unmapped)?, base64: false }))
    }
}

fn upper_snake(stored: &str) -> String {
    let name: String = stored
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' })
        .collect();
    // Letters that have no capital in ASCII would all become the same.
    if stored.is_ascii() && is_environment_name(&name) { name } else { stored.to_owned() }
}

fn decoded(identity: &IdentityRef, key: &str, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, BackendError> {
    let refused = || BackendError::Corrupt(format!("the key `{key}` of {identity} is not base64"));
    let mut joined = Zeroizing::new(Vec::with_capacity(text.len()));
    joined.extend(text.iter().filter(|byte| !byte.is_ascii_whitespace()));
    let mut out = Zeroizing::new(vec![0; joined.len() / 4 * 3 + 3]);
    let length = Base64::decode(&joined[..], &mut out).map_err(|_| refused())?.len();
    out.truncate(length);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::store::StoredValue;
    use super::*;

    fn identity() -> IdentityRef {
        "vault:kv/acme".parse().unwrap()
    }

    fn stored(values: &[(&str, &str)]) -> StoredReading {
        let value = |(name, value): &(&str, &str)| StoredValue {
            key: StoredKey { name: (*name).into(), version: 1, updated_ms: None },
            value: Zeroizing::new(value.as_bytes().to_vec()),
        };
        StoredReading { values: values.iter().map(value).collect(), leased: vec![] }
    }

    fn read(
        mapping: &Mapping,
        view: Option<&str>,
        values: &[(&str, &str)],
    ) -> Result<Vec<(String, String)>, String> {
        let granted = mapping.view(&identity(), view.map(|view| view.parse().unwrap()).as_ref());
        let reading = granted.and_then(|granted| mapping.reading(&identity(), granted, stored(values)));
        let entries = reading.map_err(|error| error.to_string())?.entries;
        let text = |entry: &ReadEntry| {
            (entry.info.name.to_string(), String::from_utf8(entry.value.to_vec()).unwrap())
        };
        Ok(entries.iter().map(text).collect())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
        pairs.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect()
    }

    #[test]
    fn names_become_what_the_step_sees() {
        let as_is = Mapping::default();
        assert_eq!(read(&as_is, None, &[("B", "2"), ("A", "1")]).unwrap(), pairs(&[("A", "1"), ("B", "2")]));
        let refused = read(&as_is, None, &[("db-password", "x")]).unwrap_err();
        assert!(
            refused.contains("`db-password` of vault:kv/acme") && refused.contains("identity.keys"),
            "{refused}"
        );

        let upper = Mapping { naming: Naming::UpperSnake, ..Mapping::default() };
        let found = read(&upper, None, &[("db-password", "1"), ("tls.crt", "2")]).unwrap();
        assert_eq!(found, pairs(&[("DB_PASSWORD", "1"), ("TLS_CRT", "2")]));
        let collision = read(&upper, None, &[("a-b", "1"), ("a.b", "2")]).unwrap_err();
        assert!(collision.contains("`a-b` and `a.b`"), "{collision}");
        assert!(read(&upper, None, &[("schlüssel", "1")]).is_err());

        let target = |name: &str, base64| Target { name: name.parse().unwrap(), base64 };
        let keys =
            BTreeMap::from([("schlüssel".into(), target("KEY", false)), ("b".into(), target("BYTES", true))]);
        let listed = Mapping { naming: Naming::Listed, keys, ..Mapping::default() };
        let found =
            read(&listed, None, &[("schlüssel", "1"), ("b", "aGVs\nbG8=\n"), ("other", "3")]).unwrap();
        assert_eq!(found, pairs(&[("BYTES", "hello"), ("KEY", "1")]));
        assert!(read(&listed, None, &[("b", "no base64!")]).unwrap_err().contains("is not base64"));
    }

    #[test]
    fn a_view_grants_its_keys_and_no_other() {
        let views = BTreeMap::from([
            ("some".parse().unwrap(), BTreeSet::from(["DB_PASSWORD".parse().unwrap()])),
            ("none".parse().unwrap(), BTreeSet::new()),
        ]);
        for naming in [Naming::UpperSnake, Naming::AsIs] {
            let mapping = Mapping { naming, views: views.clone(), ..Mapping::default() };
            let name = if naming == Naming::AsIs { "DB_PASSWORD" } else { "db-password" };
            // A key outside of the view may have any name.
            let other = if naming == Naming::AsIs { "not a name" } else { "other" };
            let found = read(&mapping, Some("some"), &[(name, "1"), (other, "2")]).unwrap();
            assert_eq!(found, pairs(&[("DB_PASSWORD", "1")]));
            assert_eq!(read(&mapping, Some("none"), &[(name, "1")]).unwrap(), []);
            assert!(read(&mapping, Some("some"), &[(other, "2")]).unwrap_err().contains("`DB_PASSWORD`"));
            assert!(read(&mapping, Some("absent"), &[]).unwrap_err().contains("vault:kv/acme/absent"));
        }
    }
}
