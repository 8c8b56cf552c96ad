//! The variables an expression sees: `$context`, `$input`, loop variables.

use serde_json::Value;

/// Names (without `$`) and values, borrowed from the caller. A later value hides an earlier one of that name.
#[derive(Clone, Debug, Default)]
pub struct Variables<'a> {
    entries: Vec<(&'a str, &'a Value)>,
}

impl<'a> Variables<'a> {
    /// No variables.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn with(mut self, name: &'a str, value: &'a Value) -> Self {
        self.set(name, value);
        self
    }

    /// Adds one.
    pub fn set(&mut self, name: &'a str, value: &'a Value) {
        self.entries.push((name, value));
    }

    /// The latest value of that name.
    pub fn look_up(&self, name: &str) -> Option<&'a Value> {
        self.entries.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value)
    }
}
