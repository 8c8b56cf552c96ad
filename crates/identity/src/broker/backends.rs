//! The identity backends of this broker, by scheme, and which identities it knows outside of the builtin file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::backend::{BackendError, IdentityBackend};
use crate::builtin::BuiltinFile;
use crate::external::config::Config;
use crate::external::open::{OpenError, open};
use crate::reference::{IdentityRef, Reference, ReferenceError, Scheme};

/// The identity backends.
pub struct Backends {
    builtin: Arc<BuiltinFile>,
    by_scheme: BTreeMap<Scheme, Arc<dyn IdentityBackend>>,
    mapped: BTreeSet<IdentityRef>,
}

impl Backends {
    /// The builtin file and the stores of `backends.toml`.
    pub fn open(builtin: Arc<BuiltinFile>, config: &Config) -> Result<Self, OpenError> {
        let stores = open(config)?;
        Ok(Backends::new(builtin, stores, config.identities.keys().cloned().collect()))
    }

    /// The builtin file and others; `mapped` are the identities with a mapping.
    pub fn new(
        builtin: Arc<BuiltinFile>,
        others: Vec<Arc<dyn IdentityBackend>>,
        mapped: BTreeSet<IdentityRef>,
    ) -> Self {
        let mut by_scheme: BTreeMap<Scheme, Arc<dyn IdentityBackend>> =
            others.into_iter().map(|backend| (backend.scheme(), backend)).collect();
        by_scheme.insert(Scheme::Builtin, builtin.clone());
        Backends { builtin, by_scheme, mapped }
    }

    /// The identity backend of a scheme.
    pub fn of(&self, scheme: Scheme) -> Result<&Arc<dyn IdentityBackend>, BackendError> {
        self.by_scheme.get(&scheme).ok_or(BackendError::NotConfigured(scheme))
    }

    /// All of them, with their schemes.
    pub fn all(&self) -> impl Iterator<Item = &Arc<dyn IdentityBackend>> {
        self.by_scheme.values()
    }

    /// Parses what a document says; an identity elsewhere is known by its policy or its mapping.
    pub fn reference(&self, text: &str) -> Result<Reference, ReferenceError> {
        Reference::parse(text, |identity| self.mapped.contains(identity) || self.builtin.is_guarded(identity))
    }
}
