//! Checks a JSON Schema that a document holds, so that a mistake in it is found before any run: the shapes of its keywords
//! (2020-12), its references, its patterns, and what of it cannot be checked.

use super::reader::{At, Fields, Reader};
use super::syntax::{Content, Node};

const TYPES: &[&str] = &["null", "boolean", "object", "array", "number", "string", "integer"];
/// Bytes of a compiled `pattern`: the planner's limit, which refuses what is larger.
const MAX_PATTERN_BYTES: usize = 16 * 1024;

/// Keywords by what stands behind them.
const SCHEMAS: &[&str] =
    &["items", "contains", "additionalProperties", "propertyNames", "not", "if", "then", "else"];
const LISTS_OF_SCHEMAS: &[&str] = &["allOf", "anyOf", "oneOf", "prefixItems"];
const SCHEMAS_BY_NAME: &[&str] =
    &["properties", "patternProperties", "dependentSchemas", "$defs", "definitions"];
const COUNTS: &[&str] = &[
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "minContains",
    "maxContains",
    "minProperties",
    "maxProperties",
];
const NUMBERS: &[&str] = &["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"];
const UNCHECKED: &[&str] = &["$dynamicRef", "$recursiveRef", "unevaluatedProperties", "unevaluatedItems"];
/// Keywords that have a shape of their own, or none that matters.
const OTHERS: &[&str] = &[
    "type",
    "enum",
    "const",
    "required",
    "dependentRequired",
    "uniqueItems",
    "pattern",
    "$ref",
    "format",
    "title",
    "description",
    "default",
    "examples",
    "example",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$comment",
    "$schema",
    "$id",
    "$anchor",
    "$vocabulary",
    "contentEncoding",
    "contentMediaType",
    "contentSchema",
    "nullable",
    "discriminator",
    "additionalItems",
    "id",
    "dependencies",
];

impl Reader {
    /// Checks a schema as a whole; references are looked up in it.
    pub(super) fn json_schema(&self, at: &At<'_>) {
        self.subschema(at, at.node);
    }

    fn subschema(&self, at: &At<'_>, root: &Node) {
        match &at.node.content {
            Content::Bool(_) => {}
            Content::Map(_) => {
                let Some(fields) = self.any_fields(at) else { return };
                for key in fields.keys() {
                    self.keyword(&fields, key, root);
                }
            }
            _ => self.error(at, "schema", "a schema must be a mapping, true or false"),
        }
    }

    fn keyword(&self, fields: &Fields<'_>, key: &str, root: &Node) {
        let Some(at) = fields.get(key) else { return };
        match key {
            "type" => match at.node.content {
                Content::List(_) => self.items(&at).iter().for_each(|item| self.type_(item)),
                _ => self.type_(&at),
            },
            "pattern" => self.pattern(&at),
            "$ref" => self.schema_reference(&at, root),
            "required" => self.texts(&at),
            "dependentRequired" => {
                self.by_name(&at, |at| {
                    self.texts(at);
                    Some(())
                });
            }
            "enum" => {
                self.items(&at);
            }
            "uniqueItems" => {
                self.boolean(&at);
            }
            key if SCHEMAS.contains(&key) => self.subschema(&at, root),
            key if LISTS_OF_SCHEMAS.contains(&key) => {
                let items = self.items(&at);
                if matches!(&at.node.content, Content::List(items) if items.is_empty()) {
                    self.error(&at, "schema", format!("`{key}` needs at least one schema"));
                }
                items.iter().for_each(|item| self.subschema(item, root));
            }
            key if SCHEMAS_BY_NAME.contains(&key) => {
                self.by_name(&at, |inner| {
                    if key == "patternProperties" {
                        self.check_pattern(inner, inner.key());
                    }
                    self.subschema(inner, root);
                    Some(())
                });
            }
            key if COUNTS.contains(&key) => {
                self.integer_in::<i64>(&at, 0, i64::MAX);
            }
            key if NUMBERS.contains(&key) => self.number(&at),
            key if UNCHECKED.contains(&key) => {
                let help = "it is not supported yet; say it with properties, items and allOf";
                self.error_help(&at, "schema", format!("`{key}` cannot be checked"), help);
            }
            key => self.other(&at, key),
        }
    }

    /// An unknown keyword means nothing to a schema, which helps nobody who mistyped one.
    fn other(&self, at: &At<'_>, key: &str) {
        if OTHERS.contains(&key) || key.starts_with("x-") {
            return;
        }
        let known: Vec<&str> = [SCHEMAS, LISTS_OF_SCHEMAS, SCHEMAS_BY_NAME, COUNTS, NUMBERS, OTHERS].concat();
        if let Some(near) = super::reader::nearest(key, &known) {
            let message = format!("`{key}` is no keyword of JSON Schema, so nothing is checked by it");
            self.warn(at, "schema", message, format!("did you mean `{near}`?"));
        }
    }

    fn type_(&self, at: &At<'_>) {
        let Some(text) = self.text(at) else { return };
        if !TYPES.contains(&text) {
            let help = match super::reader::nearest(text, TYPES) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("it can be {}", super::reader::list(TYPES, "or")),
            };
            self.error_help(at, "schema", format!("JSON Schema has no type `{text}`"), help);
        }
    }

    fn number(&self, at: &At<'_>) {
        let (positive, is_number) = match at.node.content {
            Content::Int(value) => (value > 0, true),
            Content::Unsigned(_) => (true, true),
            Content::Float(value) => (value > 0.0, true),
            _ => (false, false),
        };
        if !is_number {
            self.error(at, "schema", format!("`{}` must be a number, not {}", at.key(), at.node.describe()));
        } else if at.key() == "multipleOf" && !positive {
            self.error(at, "schema", "`multipleOf` must be more than 0");
        }
    }

    fn texts(&self, at: &At<'_>) {
        for item in &self.items(at) {
            self.text(item);
        }
    }

    fn pattern(&self, at: &At<'_>) {
        if let Some(text) = self.text(at) {
            self.check_pattern(at, text);
        }
    }

    fn check_pattern(&self, at: &At<'_>, text: &str) {
        if let Err(cause) = regex_lite::RegexBuilder::new(text).size_limit(MAX_PATTERN_BYTES).build() {
            let help = "look-around and back-references are not supported: matching must end in time";
            self.error_help(at, "schema", format!("`{text}` is no pattern: {cause}"), help);
        }
    }

    fn schema_reference(&self, at: &At<'_>, root: &Node) {
        let Some(text) = self.text(at) else { return };
        let Some(pointer) = text.strip_prefix('#').filter(|p| p.is_empty() || p.starts_with('/')) else {
            let help = "it is not supported yet; put the schema under $defs and write #/$defs/NAME";
            return self.error_help(at, "schema", format!("`$ref: {text}` leads out of the schema"), help);
        };
        if crate::validate::node_at(root, pointer).is_none() {
            self.error(at, "schema", format!("`$ref: {text}` leads nowhere: the schema has no {pointer}"));
        }
    }
}
