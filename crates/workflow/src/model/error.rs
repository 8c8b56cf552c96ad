//! Errors that a document defines, and filters that catch them.

use super::Reference;
use crate::expression::Template;

/// An error (RFC 9457): of `raise` or `use.errors`.
#[derive(Clone, Debug)]
pub struct ErrorDefinition {
    /// URI of the type; text or an expression.
    pub type_: Template,
    /// Status code.
    pub status: i64,
    /// A short sentence; text or an expression.
    pub title: Option<Template>,
    /// What happened; text or an expression.
    pub detail: Option<Template>,
    /// JSON pointer of the place; absent means the raising task.
    pub instance: Option<Template>,
}

/// `catch.errors.with`: each present field must be equal.
#[derive(Clone, Debug, Default)]
pub struct ErrorFilter {
    /// URI of the type.
    pub type_: Option<Template>,
    /// Status code.
    pub status: Option<i64>,
    /// JSON pointer of the place.
    pub instance: Option<Template>,
    /// The title.
    pub title: Option<Template>,
    /// The detail.
    pub detail: Option<Template>,
}

impl<T> Reference<T> {
    /// The value itself, or the named one.
    pub fn resolve<'a>(&'a self, named: &'a std::collections::BTreeMap<String, T>) -> Option<&'a T> {
        match self {
            Reference::Inline(value) => Some(value),
            Reference::Named(name) => named.get(name),
        }
    }
}
