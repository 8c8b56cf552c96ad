//! Published workflows, and documents on their way.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Time;
use crate::api::problem::Finding;

/// A document to validate or to publish.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Document {
    /// The text, YAML or JSON.
    pub document: String,
}

/// What is to be said about a document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Validation {
    /// Whether it can be run.
    pub valid: bool,
    /// All findings, in the order of their places.
    pub findings: Vec<Finding>,
}

/// A published workflow as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct WorkflowSummary {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Version, semantic.
    pub version: String,
    /// Lower-case hex SHA-256 of the document's text; absent where it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// When it was published; absent where it was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Time>,
    /// What the author should look at; only in the answer to a publication.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Finding>,
}

/// A published workflow with its document.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Workflow {
    /// What lists show.
    pub summary: WorkflowSummary,
    /// The document as it was published.
    pub document: String,
}

impl From<&store::Workflow> for WorkflowSummary {
    fn from(workflow: &store::Workflow) -> Self {
        WorkflowSummary {
            namespace: workflow.name.namespace.clone(),
            name: workflow.name.name.clone(),
            version: workflow.name.version.clone(),
            sha256: Some(super::hex(&workflow.sha256)),
            published: Some(workflow.published_at.into()),
            warnings: Vec::new(),
        }
    }
}
