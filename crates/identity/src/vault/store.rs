//! Vault as a store: KV and dynamic mounts behind one login.

use std::collections::BTreeSet;

use async_trait::async_trait;

use super::session::Session;
use super::{dynamic, kv};
use crate::backend::{BackendError, Capabilities, Lease, Leased};
use crate::external::config;
use crate::external::open::OpenError;
use crate::external::store::{Store, StoredKey, StoredReading};
use crate::reference::{IdentityPath, Scheme};

/// Vault or OpenBao.
pub struct Vault {
    session: Session,
    dynamic_mounts: BTreeSet<String>,
    token_role: Option<String>,
    folders: Vec<IdentityPath>,
}

impl Vault {
    /// Checks the configuration; nothing is asked yet.
    pub fn open(config: &config::Vault) -> Result<Self, OpenError> {
        if !config.dynamic_mounts.is_empty() && config.token_role.is_none() {
            let why =
                "dynamic-mounts need token-role, by which each grant gets a token of its own".to_owned();
            return Err(OpenError::Refused { store: Scheme::Vault, why });
        }
        Ok(Vault {
            session: Session::open(config)?,
            dynamic_mounts: config.dynamic_mounts.clone(),
            token_role: config.token_role.clone(),
            folders: config.folders.clone(),
        })
    }

    fn is_dynamic(&self, path: &IdentityPath) -> bool {
        path.as_str().split('/').next().is_some_and(|mount| self.dynamic_mounts.contains(mount))
    }
}

#[async_trait]
impl Store for Vault {
    fn scheme(&self) -> Scheme {
        Scheme::Vault
    }

    fn capabilities(&self) -> Capabilities {
        let leases = !self.dynamic_mounts.is_empty();
        Capabilities { names_without_values: true, versions: true, leases }
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        kv::list(&self.session, &self.folders).await
    }

    async fn names(&self, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError> {
        if self.is_dynamic(path) { Ok(dynamic::names()) } else { kv::names(&self.session, path).await }
    }

    async fn read(
        &self,
        path: &IdentityPath,
        _: Option<&BTreeSet<String>>,
        lease: Option<&Lease>,
    ) -> Result<StoredReading, BackendError> {
        match lease {
            Some(lease) => dynamic::read(&self.session, path, lease).await,
            None if self.is_dynamic(path) => {
                Err(BackendError::NotFound(format!("a lease to read `vault:{path}` under")))
            }
            None => kv::read(&self.session, path).await,
        }
    }

    async fn lease(&self, path: &IdentityPath) -> Result<Option<Lease>, BackendError> {
        match &self.token_role {
            Some(role) if self.is_dynamic(path) => dynamic::lease(&self.session, role).await.map(Some),
            _ => Ok(None),
        }
    }

    async fn renew(&self, lease: &Leased) -> Result<u64, BackendError> {
        dynamic::renew(&self.session, lease).await
    }

    async fn revoke(&self, lease: &Leased) -> Result<(), BackendError> {
        dynamic::revoke(&self.session, lease).await
    }
}
