//! Admission of a run: its document, its limits, its idempotency key; then its first turn and the commit.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use planner::Event;
use planner::limits::MAX_VALUE_BYTES;
use protocol::id::RunId;
use sha2::{Digest, Sha256};
use store::{Idempotency, RunStatus, RunSummary};
use tokio::sync::oneshot;
use workflow::{Diagnostic, Diagnostics, Severity, Workflow};

use crate::core::Core;
use crate::driver::documents::{DOCUMENT_LABEL, DocumentError, MAX_DOCUMENT_BYTES};
use crate::driver::ends::End;
use crate::driver::input::{Created, Creation, Input};
use crate::error::SubmitError;
use crate::handle::{NewRun, Source};

/// Submissions that are on their way to the store at once; more of them wait.
pub(crate) const MAX_ADMISSIONS: usize = 4096;
/// Prefix of the labels that the platform sets.
const PLATFORM_LABELS: &str = "sagewai.";

/// Why a document was not parsed.
pub(crate) enum ParseError {
    /// It is refused.
    Refused(Diagnostics),
    /// The server is stopping.
    Unavailable(String),
}

/// A run that was accepted.
pub(crate) struct Accepted {
    /// Its id.
    pub(crate) run: RunId,
    /// What lists show of it; `None` where the same request was stored before.
    pub(crate) summary: Option<RunSummary>,
    /// Its end, from the commit on that made it, where it was asked for and the run is new.
    pub(crate) end: Option<End>,
}

/// Accepts a run. With `waits`, its end can be waited for.
pub(crate) async fn submit(core: &Arc<Core>, run: NewRun, waits: bool) -> Result<Accepted, SubmitError> {
    let unavailable = |reason: &str| SubmitError::Unavailable(reason.to_owned());
    let _admitted = core.admissions.acquire().await.map_err(|_| unavailable("the server is stopping"))?;
    let NewRun { namespace, source, input, idempotency_key, mut labels } = run;
    if let Some(key) = labels.keys().find(|key| key.starts_with(PLATFORM_LABELS)) {
        return Err(SubmitError::Invalid(format!(
            "label `{key}`: labels that begin with `{PLATFORM_LABELS}` are set by the platform"
        )));
    }
    let text: Bytes = serde_json::to_vec(&input).expect("a JSON value is JSON").into();
    if text.len() > MAX_VALUE_BYTES {
        return Err(SubmitError::TooLarge(format!(
            "the input has {} bytes, the limit is {MAX_VALUE_BYTES}",
            text.len()
        )));
    }
    let (workflow, document) = find(core, namespace.as_deref(), source).await?;
    let head = &workflow.document;
    let idempotency = idempotency_key.map(|key| {
        let request_sha256 = request_sha256(&workflow, document.as_deref(), &text, &labels);
        Idempotency { key, request_sha256 }
    });
    if let Some(document) = document {
        labels.insert(DOCUMENT_LABEL.to_owned(), document);
    }
    let at = core.clock.now();
    let new = store::NewRun {
        namespace: head.namespace.clone(),
        workflow: head.name.clone(),
        version: head.version.clone(),
        labels,
        input: text,
        parent: None,
        idempotency,
        at,
    };
    let run = core.ids.next();
    let shown = summary(run, &new);
    let end = waits.then(|| core.ends.of(run));
    let (reply, answer) = oneshot::channel();
    let creation = Creation { new, workflow, event: Event::Started { input, at }, reply };
    core.schedule.push(run, Input::Create(Box::new(creation)));
    match answer.await.map_err(|_| unavailable("the server is stopping"))?? {
        Created::New { status, version, at } => {
            let finished_at = status.is_final().then_some(at);
            let summary = RunSummary { status, version, updated_at: at, finished_at, ..shown };
            Ok(Accepted { run, summary: Some(summary), end })
        }
        Created::Repeated(run) => Ok(Accepted { run, summary: None, end: None }),
    }
}

/// What lists show of a run before its first turn.
fn summary(run: RunId, new: &store::NewRun) -> RunSummary {
    RunSummary {
        run,
        namespace: new.namespace.clone(),
        workflow: new.workflow.clone(),
        workflow_version: new.version.clone(),
        labels: new.labels.clone(),
        status: RunStatus::Pending,
        version: 0,
        parent: None,
        created_at: new.at,
        updated_at: new.at,
        finished_at: None,
    }
}

/// The workflow of a source, and the hash of its text where it is not published.
async fn find(
    core: &Arc<Core>,
    namespace: Option<&str>,
    source: Source,
) -> Result<(Arc<Workflow>, Option<String>), SubmitError> {
    let documents = &core.planning.documents;
    match source {
        Source::Document(text) => {
            let (sha, workflow) = parse(core, &text).await.map_err(|error| match error {
                ParseError::Refused(diagnostics) => SubmitError::Document(diagnostics),
                ParseError::Unavailable(reason) => SubmitError::Unavailable(reason),
            })?;
            let document = &workflow.document.namespace;
            if let Some(request) = namespace.filter(|namespace| namespace != document) {
                let (document, request) = (document.clone(), request.to_owned());
                return Err(SubmitError::NamespaceMismatch { document, request });
            }
            let kept = documents.keep(sha, &text, core.clock.now()).await;
            let hash = kept.map_err(|error| SubmitError::Unavailable(error.to_string()))?;
            Ok((workflow, Some(hash)))
        }
        Source::Published { name, version } => {
            let namespace = namespace.ok_or_else(|| {
                SubmitError::Invalid("a published workflow is named with its namespace".to_owned())
            })?;
            match documents.published(namespace, &name, version.as_deref()).await {
                Ok(Some(workflow)) => Ok((workflow, None)),
                Ok(None) | Err(DocumentError::Missing) => {
                    let namespace = namespace.to_owned();
                    Err(SubmitError::NoSuchWorkflow { namespace, name, version })
                }
                Err(DocumentError::Refused(diagnostics)) => Err(SubmitError::Document(diagnostics)),
                Err(DocumentError::Store(error)) => Err(SubmitError::Unavailable(error.to_string())),
            }
        }
    }
}

/// Parses a text, off the runtime's threads when it was not seen before.
pub(crate) async fn parse(core: &Arc<Core>, text: &str) -> Result<([u8; 32], Arc<Workflow>), ParseError> {
    if let Some(too_large) = too_large(text) {
        return Err(ParseError::Refused(too_large));
    }
    if let Some(known) = core.planning.documents.parsed(text) {
        return Ok(known);
    }
    let (core, text) = (Arc::clone(core), text.to_owned());
    let parsed = tokio::task::spawn_blocking(move || core.planning.documents.parse(&text)).await;
    match parsed {
        Ok(parsed) => parsed.map_err(ParseError::Refused),
        Err(_) => Err(ParseError::Unavailable("the server is stopping".to_owned())),
    }
}

/// The finding about a text that is too large to be looked at.
pub(crate) fn too_large(text: &str) -> Option<Diagnostics> {
    if text.len() <= MAX_DOCUMENT_BYTES {
        return None;
    }
    Some(Diagnostics(vec![Diagnostic {
        severity: Severity::Error,
        code: "too-large",
        message: format!("the document has {} bytes, the limit is {MAX_DOCUMENT_BYTES}", text.len()),
        pointer: String::new(),
        line: 0,
        column: 0,
        help: Some("move large scripts to artifacts or images, or split the workflow".to_owned()),
    }]))
}

fn request_sha256(
    workflow: &Workflow,
    document: Option<&str>,
    input: &[u8],
    labels: &BTreeMap<String, String>,
) -> [u8; 32] {
    let head = &workflow.document;
    let what = (&head.namespace, &head.name, &head.version, document, labels);
    let what = serde_json::to_vec(&what).expect("texts are JSON");
    // The length keeps the two parts apart.
    let length = u64::try_from(what.len()).expect("a length fits 64 bits").to_be_bytes();
    Sha256::new().chain_update(length).chain_update(what).chain_update(input).finalize().into()
}
