//! An identity backend made of a store: its names, views and the limits that hold for all stores.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::time::Duration;

use async_trait::async_trait;
use seal::payload::{MAX_ENTRIES, MAX_VALUE_BYTES};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::mapping::Mapping;
use super::store::Store;
use crate::backend::{BackendError, Capabilities, Description, IdentityBackend, Lease, Leased, Reading};
use crate::reference::{IdentityPath, IdentityRef, Scheme, ViewName};

/// Longest time for all that one call of an identity backend needs, with its retries, seconds. Below what a worker waits for the
/// broker.
pub const CALL_SECONDS: u64 = 12;
/// Most calls of one store at once; more wait, within [`CALL_SECONDS`].
pub const MAX_CALLS: usize = 64;
/// Most identities that are listed.
pub const MAX_LISTED: usize = 10_000;

/// A store as an identity backend.
pub struct External {
    store: Box<dyn Store>,
    mappings: BTreeMap<IdentityPath, Mapping>,
    slots: Semaphore,
    call_limit: Duration,
}

impl External {
    /// Of a store and the mappings of its identities; one without a mapping is taken as it is.
    pub fn new(store: Box<dyn Store>, mappings: BTreeMap<IdentityPath, Mapping>) -> Self {
        let slots = Semaphore::new(MAX_CALLS);
        External { store, mappings, slots, call_limit: Duration::from_secs(CALL_SECONDS) }
    }

    /// With another limit of time, for tests of it.
    pub fn with_call_limit(self, call_limit: Duration) -> Self {
        External { call_limit, ..self }
    }

    fn identity(&self, path: &IdentityPath) -> Result<IdentityRef, BackendError> {
        let missing = |_| BackendError::NotFound(format!("the identity `{}:{path}`", self.store.scheme()));
        IdentityRef::new(self.store.scheme(), path.clone()).map_err(missing)
    }

    fn mapping(&self, path: &IdentityPath) -> &Mapping {
        static AS_IT_IS: std::sync::LazyLock<Mapping> = std::sync::LazyLock::new(Mapping::default);
        self.mappings.get(path).unwrap_or(&AS_IT_IS)
    }

    async fn limited<T>(
        &self,
        call: impl Future<Output = Result<T, BackendError>>,
    ) -> Result<T, BackendError> {
        let call = async {
            let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
            call.await
        };
        let slow = |_| BackendError::Slow { store: self.store.scheme(), seconds: self.call_limit.as_secs() };
        timeout(self.call_limit, call).await.map_err(slow)?
    }

    async fn read_store(
        &self,
        path: &IdentityPath,
        wanted: Option<BTreeSet<String>>,
        lease: Option<&Lease>,
    ) -> Result<super::store::StoredReading, BackendError> {
        let stored = self.store.read(path, wanted.as_ref(), lease).await?;
        let too_much =
            |limit| BackendError::TooMuch { what: format!("`{}:{path}`", self.store.scheme()), limit };
        if stored.values.len() > MAX_ENTRIES {
            return Err(too_much("1024 keys"));
        }
        let wanted = |name: &String| wanted.as_ref().is_none_or(|wanted| wanted.contains(name));
        // Base64 of the longest value is a third longer.
        let long = |value: &super::store::StoredValue| value.value.len() > MAX_VALUE_BYTES * 3 / 2;
        if stored.values.iter().any(|value| wanted(&value.key.name) && long(value)) {
            return Err(too_much("64 KiB in one value"));
        }
        Ok(stored)
    }
}

#[async_trait]
impl IdentityBackend for External {
    fn scheme(&self) -> Scheme {
        self.store.scheme()
    }

    fn capabilities(&self) -> Capabilities {
        self.store.capabilities()
    }

    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError> {
        let mut found: BTreeSet<_> = self.limited(self.store.list()).await?.into_iter().collect();
        found.extend(self.mappings.keys().cloned());
        if found.len() > MAX_LISTED {
            let what = format!("what {} lists", self.store.scheme());
            return Err(BackendError::TooMuch { what, limit: "10000 identities" });
        }
        Ok(found.into_iter().collect())
    }

    async fn describe(&self, path: &IdentityPath) -> Result<Description, BackendError> {
        let (identity, mapping) = (self.identity(path)?, self.mapping(path));
        let stored = self.limited(self.store.names(path)).await?;
        let keys = mapping.infos(&identity, &stored)?;
        Ok(Description { name: identity, keys, views: mapping.view_infos() })
    }

    async fn lease(&self, path: &IdentityPath) -> Result<Option<Lease>, BackendError> {
        self.limited(self.store.lease(path)).await
    }

    async fn read(
        &self,
        path: &IdentityPath,
        view: Option<&ViewName>,
        lease: Option<&Lease>,
    ) -> Result<Reading, BackendError> {
        let (identity, mapping) = (self.identity(path)?, self.mapping(path));
        let granted = mapping.view(&identity, view)?;
        let wanted = granted.and_then(|granted| mapping.stored_names(granted));
        let stored = self.limited(self.read_store(path, wanted, lease)).await?;
        mapping.reading(&identity, granted, stored)
    }

    async fn renew(&self, lease: &Leased) -> Result<u64, BackendError> {
        self.limited(self.store.renew(lease)).await
    }

    async fn revoke(&self, lease: &Leased) -> Result<(), BackendError> {
        self.limited(self.store.revoke(lease)).await
    }
}
