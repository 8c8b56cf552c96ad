//! What a store outside of the broker has to do: read its own names and values. Names, views, limits and order are
//! [`super::External`]'s.

use std::collections::BTreeSet;

use async_trait::async_trait;
use zeroize::Zeroizing;

use crate::backend::{BackendError, Capabilities, Lease, Leased, LeasedPart};
use crate::reference::{IdentityPath, Scheme};

/// A store.
#[async_trait]
pub trait Store: Send + Sync {
    /// The scheme in references.
    fn scheme(&self) -> Scheme;

    /// What the store can do.
    fn capabilities(&self) -> Capabilities;

    /// What can be listed, in any order, all pages of it. A store that lists nothing gives an empty list.
    async fn list(&self) -> Result<Vec<IdentityPath>, BackendError>;

    /// Names in an identity, in any order.
    async fn names(&self, path: &IdentityPath) -> Result<Vec<StoredKey>, BackendError>;

    /// Values of an identity: at least the `wanted` ones that exist, all without.
    async fn read(
        &self,
        path: &IdentityPath,
        wanted: Option<&BTreeSet<String>>,
        lease: Option<&Lease>,
    ) -> Result<StoredReading, BackendError>;

    /// See [`crate::backend::IdentityBackend::lease`].
    async fn lease(&self, _path: &IdentityPath) -> Result<Option<Lease>, BackendError> {
        Ok(None)
    }

    /// See [`crate::backend::IdentityBackend::renew`].
    async fn renew(&self, lease: &Leased) -> Result<u64, BackendError> {
        Err(BackendError::NotFound(format!("the lease `{}`", lease.id)))
    }

    /// See [`crate::backend::IdentityBackend::revoke`].
    async fn revoke(&self, _lease: &Leased) -> Result<(), BackendError> {
        Ok(())
    }
}

/// A name in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredKey {
    /// As the store has it: any characters.
    pub name: String,
    /// Version, from 1; 0 where the store has none.
    pub version: u64,
    /// When its value was last set: milliseconds since the Unix epoch.
    pub updated_ms: Option<i64>,
}

/// A value in a store. It has no `Debug`; the value is wiped when dropped.
pub struct StoredValue {
    /// Name and metadata.
    pub key: StoredKey,
    /// The value's bytes.
    pub value: Zeroizing<Vec<u8>>,
}

/// What was read at once.
#[derive(Default)]
pub struct StoredReading {
    /// Values, in any order.
    pub values: Vec<StoredValue>,
    /// What ends by itself.
    pub leased: Vec<LeasedPart>,
}
