//! Documents of runs, parsed once: published ones by name and version, others by the hash of their text.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use protocol::id::Timestamp;
use sha2::{Digest, Sha256};
use store::{Parent, PublishOutcome, RunSummary, Store, StoreError, VersionWanted, WorkflowName};
use workflow::{Diagnostics, Workflow};

/// Namespace of the store's catalog under which texts are kept that were run without being published: name = SHA-256.
/// It is no DNS label, so that no document can be of it; lists for people leave it out.
pub const UNPUBLISHED_NAMESPACE: &str = "~unpublished";
/// Label of a run that names its unpublished document by the lower-case hex SHA-256 of its text.
pub const DOCUMENT_LABEL: &str = "sagewai.document";
/// Bytes of a document's text.
pub const MAX_DOCUMENT_BYTES: usize = 1 << 20;

/// Parsed documents kept.
const MAX_CACHED_DOCUMENTS: usize = 1024;
/// How long the latest version of a workflow is taken as known when another server may publish.
const LATEST_TTL: Duration = Duration::from_secs(1);
/// Version under which unpublished texts are kept.
const UNPUBLISHED_VERSION: &str = "1.0.0";

/// Why a run's document could not be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DocumentError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not in the store.
    #[error("it is not in the store")]
    Missing,
    /// It was accepted once, but is not by this version of the program.
    #[error("{0}")]
    Refused(Diagnostics),
}

type Sha = [u8; 32];

/// The documents.
pub(crate) struct Documents {
    store: Arc<dyn Store>,
    cache: Mutex<Cache>,
}

#[derive(Default)]
struct Cache {
    by_sha: HashMap<Sha, Arc<Workflow>>,
    by_name: HashMap<WorkflowName, Sha>,
    latest: BTreeMap<(String, String), (String, Instant)>,
    /// Unpublished texts that the store is known to have.
    kept: HashMap<Sha, ()>,
}

impl Documents {
    /// Documents of a store.
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Documents { store, cache: Mutex::default() }
    }

    /// How many runs are above a run with this parent, counted up to `most`.
    pub(crate) async fn ancestors(&self, parent: Option<Parent>, most: usize) -> Result<usize, StoreError> {
        let (mut next, mut count) = (parent, 0);
        while let Some(parent) = next
            && count < most
        {
            count += 1;
            next = self.store.run_summary(parent.run).await?.and_then(|summary| summary.parent);
        }
        Ok(count)
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, Cache> {
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.by_sha.len() > MAX_CACHED_DOCUMENTS {
            *cache = Cache::default();
        }
        cache
    }

    /// A text that was parsed before.
    pub(crate) fn parsed(&self, text: &str) -> Option<(Sha, Arc<Workflow>)> {
        let sha: Sha = Sha256::digest(text.as_bytes()).into();
        let known = self.cache().by_sha.get(&sha).cloned();
        known.map(|workflow| (sha, workflow))
    }

    /// Parses a text and checks that it can be run. The answer's hash is that of the text.
    pub(crate) fn parse(&self, text: &str) -> Result<(Sha, Arc<Workflow>), Diagnostics> {
        let sha: Sha = Sha256::digest(text.as_bytes()).into();
        if let Some(known) = self.cache().by_sha.get(&sha) {
            return Ok((sha, Arc::clone(known)));
        }
        let workflow = Workflow::parse(text)?;
        workflow.check_executable(text)?;
        let workflow = Arc::new(workflow);
        self.cache().by_sha.insert(sha, Arc::clone(&workflow));
        Ok((sha, workflow))
    }

    /// A published document. `None` when there is none of that name and version.
    pub(crate) async fn published(
        &self,
        namespace: &str,
        name: &str,
        version: Option<&str>,
    ) -> Result<Option<Arc<Workflow>>, DocumentError> {
        if let Some(known) = self.known(namespace, name, version) {
            return Ok(Some(known));
        }
        let wanted = version.map_or(VersionWanted::Latest, VersionWanted::Exactly);
        let Some(found) = self.store.workflow(namespace, name, wanted).await? else { return Ok(None) };
        let (sha, workflow) = self.parse(&found.source).map_err(DocumentError::Refused)?;
        let mut cache = self.cache();
        if version.is_none() {
            let latest = (found.name.version.clone(), Instant::now());
            cache.latest.insert((namespace.to_owned(), name.to_owned()), latest);
        }
        cache.by_name.insert(found.name, sha);
        Ok(Some(workflow))
    }

    fn known(&self, namespace: &str, name: &str, version: Option<&str>) -> Option<Arc<Workflow>> {
        let cache = self.cache();
        let version = match version {
            Some(version) => version.to_owned(),
            None => {
                let (latest, at) = cache.latest.get(&(namespace.to_owned(), name.to_owned()))?;
                (at.elapsed() < LATEST_TTL).then(|| latest.clone())?
            }
        };
        let key = WorkflowName { namespace: namespace.to_owned(), name: name.to_owned(), version };
        cache.by_name.get(&key).and_then(|sha| cache.by_sha.get(sha)).cloned()
    }

    /// The document of a stored run.
    pub(crate) async fn of_run(&self, run: &RunSummary) -> Result<Arc<Workflow>, DocumentError> {
        let found = match run.labels.get(DOCUMENT_LABEL) {
            Some(sha) => self.published(UNPUBLISHED_NAMESPACE, sha, Some(UNPUBLISHED_VERSION)).await?,
            None => self.published(&run.namespace, &run.workflow, Some(&run.workflow_version)).await?,
        };
        found.ok_or(DocumentError::Missing)
    }

    /// Keeps a text that is not published, before a run of it is made. Answers the value of the run's
    /// [`DOCUMENT_LABEL`].
    pub(crate) async fn keep(&self, sha: Sha, text: &str, now: Timestamp) -> Result<String, StoreError> {
        let hex = hex(&sha);
        if self.cache().kept.contains_key(&sha) {
            return Ok(hex);
        }
        let name = WorkflowName {
            namespace: UNPUBLISHED_NAMESPACE.to_owned(),
            name: hex.clone(),
            version: UNPUBLISHED_VERSION.to_owned(),
        };
        let document = store::Workflow { name, source: text.to_owned(), sha256: sha, published_at: now };
        self.store.publish(document).await?;
        self.cache().kept.insert(sha, ());
        Ok(hex)
    }

    /// Publishes a text that was parsed.
    pub(crate) async fn publish(
        &self,
        sha: Sha,
        workflow: &Workflow,
        text: &str,
        now: Timestamp,
    ) -> Result<PublishOutcome, StoreError> {
        let head = &workflow.document;
        let name = WorkflowName {
            namespace: head.namespace.clone(),
            name: head.name.clone(),
            version: head.version.clone(),
        };
        let document = store::Workflow { name, source: text.to_owned(), sha256: sha, published_at: now };
        let outcome = self.store.publish(document).await?;
        self.cache().latest.remove(&(head.namespace.clone(), head.name.clone()));
        Ok(outcome)
    }
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        write!(text, "{byte:02x}").expect("writing to a string does not fail");
        text
    })
}
