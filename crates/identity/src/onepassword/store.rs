//! A Connect server as a store. Vaults and items are found by name or by id; a field in a section is named `section.field`.

use std::collections::BTreeSet;
use std::path::PathBuf;

use async_trait::async_trait;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::backend::{BackendError, Capabilities, Lease};
use crate::external::config;
use crate::external::credential::private_text;
use crate::external::http::{Call, Http};
use crate::external::json::{SecretJson, time_ms};
use crate::external::open::OpenError;
use crate::external::store::{Store, StoredKey, StoredReading, StoredValue};
use crate::percent::segment;
use crate::reference::{IdentityPath, Scheme};

/// Most vaults that are looked into for a list.
const MAX_VAULTS: usize = 1000;
/// Length of the ids of vaults and items.
const ID_BYTES: usize = 26;

/// A Connect server.
pub struct OnePassword {
    http: Http,
    token_file: PathBuf,
}

impl OnePassword {
    /// Checks the configuration; nothing is asked yet.
    pub fn open(config: &config::OnePassword) -> Result<Self, OpenError> {
        let http = Http::open(Scheme::OnePassword, &config.address, config.ca_file.as_deref())?;
        Ok(OnePassword { http, token_file: config.token_file.clone() })
    }

    /// `None` is "not found".
    async fn get(&self, path: &str, what: &str) -> Result<Option<SecretJson>, BackendError> {
        let token = private_text(Scheme::OnePassword, &self.token_file)?;
        let bearer = format!("Bearer {}", token.as_str());
        let answer = self.http.repeatable(&Call::get(path).header("authorization", bearer)).await?;
        match answer.status.as_u16() {
            200 => {
                let parsed = SecretJson::parse(&answer.body);
                parsed
                    .map(Some)
                    .map_err(|why| BackendError::Corrupt(format!("what 1password says of {what}: {why}")))
            }
            404 => Ok(None),
            401 | 403 => Err(BackendError::Denied {
                store: Scheme::OnePassword,
                what: what.to_owned(),
                remedy: "check the Connect token of token-file and the vaults that it was given",
            }),
            _ => Err(self.http.failed(answer.status)),
        }
    }

    /// The id of the one vault or item of a list that has this name, or this id.
    async fn find(&self, list: &str, attribute: &str, name: &str) -> Result<Option<String>, BackendError> {
        let quoted = name.replace('\\', "\\\\").replace('"', "\\\"");
        let filter = segment(&format!("{attribute} eq \"{quoted}\""));
        let what = format!("the {attribute} `{name}`");
        let Some(found) = self.get(&format!("{list}?filter={filter}"), &what).await? else { return Ok(None) };
        let attribute_key = if attribute == "name" { "name" } else { "title" };
        let named = found.value().as_array().into_iter().flatten().filter(|one| one[attribute_key] == name);
        let mut ids = named.filter_map(|one| one["id"].as_str());
        match (ids.next(), ids.next()) {
            (Some(_), Some(_)) => {
                Err(BackendError::Corrupt(format!("{what} is there twice in 1password: use its id")))
            }
            (Some(id), None) if is_id(id) => Ok(Some(id.to_owned())),
            _ if is_id(name) => Ok(Some(name.to_owned())),
            _ => Ok(None),
        }
    }

    async fn item(&self, path: &IdentityPath) -> Result<SecretJson, BackendError> {
        let missing = || BackendError::NotFound(format!("`1password:{path}`"));
        let (vault, item) = path.as_str().split_once('/').ok_or_else(missing)?;
        let vault = self.find("/v1/vaults", "name", vault).await?.ok_or_else(missing)?;
        let items = format!("/v1/vaults/{vault}/items");
        let item = self.find(&items, "title", item).await?.ok_or_else(missing)?;
        let found = self.get(&format!("{items}/{item}"), &format!("the item {path}")).await?;
        found.ok_or_else(missing)
    }
}

#[async_trait]
impl Store for OnePassword {
    fn scheme(&self) -> Scheme {
        Scheme::OnePassword
    }

    fn capabilities(&self) -> Capabilities {
        // An item is read whole.
        Capabilities { names_without_values: false, versions: true, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        let vaults = self.get("/v1/vaults", "the vaults").await?.unwrap_or_default();
        let mut found = Vec::new();
        for vault in vaults.value().as_array().into_iter().flatten().take(MAX_VAULTS) {
            let (Some(id), Some(name)) =
                (vault["id"].as_str().filter(|id| is_id(id)), vault["name"].as_str())
            else {
                continue;
            };
            let items = self.get(&format!("/v1/vaults/{id}/items"), &format!("the vault `{name}`")).await?;
            for item in items.unwrap_or_default().value().as_array().into_iter().flatten() {
                // A name that no reference can have is reached by its id.
                let title = item["title"].as_str().filter(|title| !title.contains('/'));
                let by_name = title.and_then(|title| format!("{name}/{title}").parse().ok());
                let by_id = || format!("{id}/{}", item["id"].as_str()?).parse().ok();
                found.extend(by_name.filter(|_| !name.contains('/')).or_else(by_id));
            }
        }
        Ok(found)
    }

    async fn names(&self, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError> {
        let item = self.item(path).await?;
        Ok(fields(item.value()).map(|(key, _)| key).collect())
    }

    async fn read(
        &self,
        path: &IdentityPath,
        _: Option<&BTreeSet<String>>,
        _: Option<&Lease>,
    ) -> Result<StoredReading, BackendError> {
        let item = self.item(path).await?;
        let values = fields(item.value()).map(|(key, value)| StoredValue { key, value });
        Ok(StoredReading { values: values.collect(), leased: vec![] })
    }
}

/// The fields of an item with a label; what an item of its category has and nobody filled in is left out.
fn fields(item: &Value) -> impl Iterator<Item = (StoredKey, Zeroizing<Vec<u8>>)> {
    let sections = item["sections"].as_array().map(Vec::as_slice).unwrap_or_default();
    let (version, updated_ms) = (item["version"].as_u64().unwrap_or(0), time_ms(item.get("updatedAt")));
    item["fields"].as_array().into_iter().flatten().filter_map(move |field| {
        let label = field["label"].as_str().filter(|label| !label.is_empty()).or(field["id"].as_str())?;
        let section = sections.iter().find(|section| section["id"] == field["section"]["id"]);
        let section = section.and_then(|section| section["label"].as_str()).filter(|label| !label.is_empty());
        let name = section.map_or_else(|| label.to_owned(), |section| format!("{section}.{label}"));
        let value = field["value"].as_str()?;
        Some((StoredKey { name, version, updated_ms }, Zeroizing::new(value.as_bytes().to_vec())))
    })
}

fn is_id(text: &str) -> bool {
    text.len() == ID_BYTES && text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase())
}
