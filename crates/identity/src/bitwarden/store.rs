//! Bitwarden Secrets Manager as a store. Projects are found by name or by id; values are asked for by the ids of the keys that
//! are wanted, and of no other.

use std::collections::BTreeSet;

use async_trait::async_trait;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::session::{Login, Session};
use crate::backend::{BackendError, Capabilities, Lease};
use crate::external::config;
use crate::external::json::time_ms;
use crate::external::open::OpenError;
use crate::external::store::{Store, StoredKey, StoredReading, StoredValue};
use crate::percent::segment;
use crate::reference::{IdentityPath, Scheme};

/// Bitwarden Secrets Manager.
pub struct Bitwarden {
    session: Session,
}

/// A secret as it is listed: without its value.
struct Listed {
    id: String,
    key: StoredKey,
}

impl Bitwarden {
    /// Checks the configuration; nothing is asked yet.
    pub fn open(config: &config::Bitwarden) -> Result<Self, OpenError> {
        Ok(Bitwarden { session: Session::open(config)? })
    }

    /// Ids and names of the projects that the machine account may see.
    async fn projects(&self) -> Result<Vec<(String, String)>, BackendError> {
        let path = |login: &Login| format!("/organizations/{}/projects", segment(&login.organization));
        let Some((login, answer)) = self.session.ask(path, None).await? else { return Ok(vec![]) };
        let projects = answer.value()["data"].as_array().into_iter().flatten();
        projects
            .map(|project| {
                let id = project["id"].as_str().unwrap_or_default().to_owned();
                Ok((id, text(&login, &project["name"], "the name of a project")?.to_string()))
            })
            .collect()
    }

    async fn listed(&self, path: &IdentityPath) -> Result<Vec<Listed>, BackendError> {
        let missing = || BackendError::NotFound(format!("`bitwarden:{path}`"));
        let projects = self.projects().await?;
        let mut matching = projects.iter().filter(|(id, name)| name == path.as_str() || id == path.as_str());
        let (project, _) = matching.next().ok_or_else(missing)?;
        if matching.next().is_some() {
            return Err(BackendError::Corrupt(format!(
                "the project `{path}` is there twice in bitwarden: use its id"
            )));
        }
        let url = |_: &Login| format!("/projects/{}/secrets", segment(project));
        let (login, answer) = self.session.ask(url, None).await?.ok_or_else(missing)?;
        let secrets = answer.value()["secrets"].as_array().into_iter().flatten();
        secrets
            .map(|secret| {
                let name = text(&login, &secret["key"], "the name of a secret")?.to_string();
                let id = secret["id"].as_str().unwrap_or_default().to_owned();
                Ok(Listed { id, key: key(name, secret) })
            })
            .collect()
    }
}

#[async_trait]
impl Store for Bitwarden {
    fn scheme(&self) -> Scheme {
        Scheme::Bitwarden
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities { names_without_values: true, versions: false, leases: false }
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        let projects = self.projects().await?;
        // A name that no reference can have is reached by its id.
        Ok(projects.into_iter().filter_map(|(id, name)| name.parse().or_else(|_| id.parse()).ok()).collect())
    }

    async fn names(&self, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError> {
        Ok(self.listed(path).await?.into_iter().map(|listed| listed.key).collect())
    }

    async fn read(
        &self,
        path: &IdentityPath,
        wanted: Option<&BTreeSet<String>>,
        _: Option<&Lease>,
    ) -> Result<StoredReading, BackendError> {
        let mut listed = self.listed(path).await?;
        listed.retain(|listed| wanted.is_none_or(|wanted| wanted.contains(&listed.key.name)));
        if listed.is_empty() {
            return Ok(StoredReading::default());
        }
        let ids: Vec<&str> = listed.iter().map(|listed| listed.id.as_str()).collect();
        let asked = json!({ "ids": ids });
        let answer = self.session.ask(|_| "/secrets/get-by-ids".to_owned(), Some(&asked)).await?;
        let (login, answer) =
            answer.ok_or_else(|| BackendError::NotFound(format!("a secret of `bitwarden:{path}`")))?;
        let mut values = Vec::new();
        for secret in answer.value()["data"].as_array().into_iter().flatten() {
            // Name and value are from the same answer: a secret that was renamed in between is not mistaken for another.
            let name = text(&login, &secret["key"], "the name of a secret")?.to_string();
            let value = text(&login, &secret["value"], &format!("the value of `{name}`"))?;
            values.push(StoredValue {
                key: key(name, secret),
                value: Zeroizing::new(value.as_bytes().to_vec()),
            });
        }
        Ok(StoredReading { values, leased: vec![] })
    }
}

fn key(name: String, secret: &Value) -> StoredKey {
    StoredKey { name, version: 0, updated_ms: time_ms(secret.get("revisionDate")) }
}

fn text(login: &Login, sealed: &Value, what: &str) -> Result<Zeroizing<String>, BackendError> {
    let corrupt = |why: &dyn std::fmt::Display| BackendError::Corrupt(format!("{what} in bitwarden: {why}"));
    let bytes = login.key.decrypt(sealed.as_str().unwrap_or_default()).map_err(|error| corrupt(&error))?;
    let text = std::str::from_utf8(&bytes).map_err(|_| corrupt(&"it is no text"))?;
    Ok(Zeroizing::new(text.to_owned()))
}
