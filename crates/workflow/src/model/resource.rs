//! Endpoints, external resources, schemas, and what is done with input and output.

use std::sync::Arc;

use serde_json::Value;

use super::Authentication;
use crate::expression::{Expression, Template};

/// Something inline, or the name of an entry of `use`.
#[derive(Clone, Debug)]
pub enum Reference<T> {
    /// Stated here.
    Inline(T),
    /// Of `use`.
    Named(String),
}

/// Where a call goes.
#[derive(Clone, Debug)]
pub struct Endpoint {
    /// Its address.
    pub uri: Uri,
    /// Credentials.
    pub authentication: Option<Reference<Authentication>>,
}

/// An address.
#[derive(Clone, Debug)]
pub enum Uri {
    /// A URI template (RFC 6570 level 1): `{name}` stands for the value of that key of the task's input.
    Template(UriTemplate),
    /// Gives the URI.
    Expression(Expression),
}

/// A URI with `{name}` parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UriTemplate {
    pub(crate) text: String,
    pub(crate) parts: Vec<UriPart>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UriPart {
    Literal(String),
    Variable(String),
}

/// Something outside the document.
#[derive(Clone, Debug)]
pub struct ExternalResource {
    /// Its name.
    pub name: Option<String>,
    /// Where it is.
    pub endpoint: Endpoint,
}

/// A schema that data must match.
#[derive(Clone, Debug)]
pub struct Schema {
    /// Format, such as `json` or `json:2020-12`.
    pub format: String,
    /// Where it is.
    pub source: SchemaSource,
}

/// Where a schema is.
#[derive(Clone, Debug)]
pub enum SchemaSource {
    /// In the document.
    Inline(Arc<Value>),
    /// Elsewhere.
    External(ExternalResource),
}

/// `input` of a workflow or task: the schema is checked first, then `from` is applied.
#[derive(Clone, Debug, Default)]
pub struct InputFilter {
    /// `schema`
    pub schema: Option<Schema>,
    /// `from`; absent means unchanged.
    pub from: Option<Template>,
}

/// `output` or `export`: `as` is applied first, then the schema is checked.
#[derive(Clone, Debug, Default)]
pub struct OutputFilter {
    /// `schema`
    pub schema: Option<Schema>,
    /// `as`; absent means unchanged.
    pub as_: Option<Template>,
}
