//! KV version 2: names by `subkeys`, which reads no value, and values with their version.

use serde_json::Value;

use super::session::{Session, path_of};
use crate::backend::BackendError;
use crate::external::json::{scalar, time_ms};
use crate::external::store::{StoredKey, StoredReading, StoredValue};
use crate::reference::IdentityPath;

/// How deep folders are looked into for a list.
const MAX_DEPTH: usize = 8;
/// Most folders that are looked into for a list.
const MAX_FOLDERS: usize = 1000;

/// A path in a KV mount: the mount is its first segment.
pub(super) struct Place<'a> {
    mount: &'a str,
    inner: &'a str,
}

impl<'a> Place<'a> {
    pub(super) fn of(path: &'a IdentityPath) -> Result<Self, BackendError> {
        let missing =
            || BackendError::NotFound(format!("`vault:{path}`, which has no mount in front of a path,"));
        let (mount, inner) = path.as_str().split_once('/').ok_or_else(missing)?;
        Ok(Place { mount, inner })
    }

    fn url(&self, part: &str) -> String {
        format!("/v1/{}/{part}/{}", path_of(self.mount), path_of(self.inner))
    }
}

pub(super) async fn names(session: &Session, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError> {
    let answer = session.get(&Place::of(path)?.url("subkeys")).await?.ok_or_else(|| missing(path))?;
    let data = &answer.value()["data"];
    let subkeys = data["subkeys"].as_object().ok_or_else(|| missing(path))?;
    Ok(subkeys.keys().map(|name| key(name, &data["metadata"])).collect())
}

pub(super) async fn read(session: &Session, path: &IdentityPath) -> Result<StoredReading, BackendError> {
    let answer = session.get(&Place::of(path)?.url("data")).await?.ok_or_else(|| missing(path))?;
    let data = &answer.value()["data"];
    let members = data["data"].as_object().ok_or_else(|| missing(path))?;
    let values = members.iter().map(|(name, value)| {
        let nested = || {
            BackendError::Corrupt(format!(
                "the key `{name}` of vault:{path} is no text but an object or a list"
            ))
        };
        Ok(StoredValue { key: key(name, &data["metadata"]), value: scalar(value).ok_or_else(nested)? })
    });
    Ok(StoredReading { values: values.collect::<Result<_, BackendError>>()?, leased: vec![] })
}

/// The secrets in folders and what lies below.
pub(super) async fn list(
    session: &Session,
    folders: &[IdentityPath],
) -> Result<Vec<IdentityPath>, BackendError> {
    let mut found = Vec::new();
    let mut waiting: Vec<(String, usize)> =
        folders.iter().map(|folder| (folder.as_str().to_owned(), 0)).collect();
    let mut looked_at = 0;
    while let Some((folder, depth)) = waiting.pop() {
        looked_at += 1;
        if looked_at > MAX_FOLDERS {
            return Err(BackendError::TooMuch {
                what: "vault.folders of backends.toml".into(),
                limit: "1000 folders",
            });
        }
        let (mount, inner) = folder.split_once('/').unwrap_or((&folder, ""));
        let url = format!("/v1/{}/metadata/{}?list=true", path_of(mount), path_of(inner));
        let Some(answer) = session.get(&url).await? else { continue };
        for name in answer.value()["data"]["keys"].as_array().into_iter().flatten().filter_map(Value::as_str)
        {
            let path = format!("{folder}/{name}");
            match path.strip_suffix('/') {
                Some(path) if depth < MAX_DEPTH => waiting.push((path.to_owned(), depth + 1)),
                Some(_) => {}
                // A name that no reference can have cannot be asked for either.
                None => found.extend(path.parse()),
            }
        }
    }
    Ok(found)
}

fn key(name: &str, metadata: &Value) -> StoredKey {
    StoredKey {
        name: name.to_owned(),
        version: metadata["version"].as_u64().unwrap_or(0),
        updated_ms: time_ms(metadata.get("created_time")),
    }
}

fn missing(path: &IdentityPath) -> BackendError {
    BackendError::NotFound(format!("`vault:{path}`"))
}
