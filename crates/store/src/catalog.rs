//! Published workflows: immutable source texts by namespace, name and version.

use protocol::id::Timestamp;

/// The full name of a workflow document.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WorkflowName {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version, semantic (semver 2.0).
    pub version: String,
}

/// A published workflow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workflow {
    /// Its full name.
    pub name: WorkflowName,
    /// The document as it was given, YAML or JSON; empty in lists.
    pub source: String,
    /// SHA-256 of `source`.
    pub sha256: [u8; 32],
    /// When it was published.
    pub published_at: Timestamp,
}

/// What became of a publication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishOutcome {
    /// It is new.
    Published,
    /// The same text was there already.
    Unchanged,
    /// The version is there with another text, which stays: a published version never changes.
    Different,
}

/// Which version of a workflow is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionWanted<'a> {
    /// The one with the highest precedence (semver 2.0 §11); a pre-release only where there is nothing else.
    Latest,
    /// This one.
    Exactly(&'a str),
}

/// Which workflows are listed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkflowFilter {
    /// Only of this namespace.
    pub namespace: Option<String>,
    /// Only with this name; needs `namespace`.
    pub name: Option<String>,
}

/// Workflows are listed by namespace, name, then version as text; a page starts after this one.
pub type WorkflowCursor = WorkflowName;
