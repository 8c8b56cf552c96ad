//! JSON Schema (2020-12) of inputs, outputs and the context, with a budget: a schema comes from a user, and one of a few lines
//! can ask for more checks than there are atoms. What cannot be checked is refused, never taken as matching.

use protocol::step::StepError;
use serde_json::{Map, Value};
use workflow::{Schema, SchemaSource};

use self::plain::{is_of_type, list, number_keyword, require, within_count};
use crate::error;

mod plain;

/// Checks of one value against one schema: about a keyword on a value each, or as many characters of a text.
const MAX_CHECKS: u32 = 200_000;
/// Schemas within schemas, references included.
const MAX_SCHEMA_DEPTH: u32 = 64;
/// Bytes of a compiled `pattern`.
const MAX_PATTERN_BYTES: usize = 16 * 1024;

/// Checks a value.
///
/// # Errors
/// A validation error that names the place in the value; a configuration error for a schema that cannot be used.
pub(crate) fn check(schema: &Schema, value: &Value, what: &str) -> Result<(), StepError> {
    let SchemaSource::Inline(document) = &schema.source else {
        return Err(error::configuration(format!(
            "the schema of the {what} is a `resource`, which cannot be read yet; put it in `schema.document`"
        )));
    };
    if schema.format != "json" && !schema.format.starts_with("json:") {
        return Err(error::configuration(format!(
            "the schema of the {what} has format `{}`; only `json` can be checked",
            schema.format
        )));
    }
    let mut check = Check { root: document, left: MAX_CHECKS };
    check.value(document, value, 0).map_err(|failure| match failure {
        Failure::Mismatch { place, message } => {
            let place = if place.is_empty() { "the value".to_owned() } else { format!("`{place}`") };
            error::validation(what, &format!("{place} {message}"))
        }
        Failure::Unusable(reason) => {
            error::configuration(format!("the schema of the {what} cannot be used: {reason}"))
        }
    })
}

/// Why a value was not found to match.
enum Failure {
    /// It does not. `place` is a JSON pointer into the value.
    Mismatch { place: String, message: String },
    /// That cannot be told.
    Unusable(String),
}

type Checked = Result<(), Failure>;

struct Check<'s> {
    root: &'s Value,
    left: u32,
}

fn mismatch(message: impl Into<String>) -> Checked {
    Err(Failure::Mismatch { place: String::new(), message: message.into() })
}

fn unusable<T>(reason: impl Into<String>) -> Result<T, Failure> {
    Err(Failure::Unusable(reason.into()))
}

/// Puts a key or index before the place of a mismatch.
fn within(checked: Checked, key: &str) -> Checked {
    checked.map_err(|failure| match failure {
        Failure::Mismatch { place, message } => {
            let key = key.replace('~', "~0").replace('/', "~1");
            Failure::Mismatch { place: format!("/{key}{place}"), message }
        }
        unusable @ Failure::Unusable(_) => unusable,
    })
}

impl<'s> Check<'s> {
    fn spend(&mut self, checks: usize) -> Checked {
        match self.left.checked_sub(u32::try_from(checks).unwrap_or(u32::MAX)) {
            Some(left) => self.left = left,
            None => return unusable(format!("it takes more than {MAX_CHECKS} checks")),
        }
        Ok(())
    }

    fn value(&mut self, schema: &'s Value, value: &Value, depth: u32) -> Checked {
        self.spend(1)?;
        if depth > MAX_SCHEMA_DEPTH {
            return unusable(format!("it is more than {MAX_SCHEMA_DEPTH} schemas deep"));
        }
        let keywords = match schema {
            Value::Bool(true) => return Ok(()),
            Value::Bool(false) => return mismatch("must not be there"),
            Value::Object(keywords) => keywords,
            _ => return unusable("a schema must be an object or a boolean"),
        };
        for (keyword, argument) in keywords {
            self.spend(1)?;
            self.keyword(keywords, keyword, argument, value, depth + 1)?;
        }
        Ok(())
    }

    fn keyword(
        &mut self,
        schema: &'s Map<String, Value>,
        keyword: &str,
        argument: &'s Value,
        value: &Value,
        depth: u32,
    ) -> Checked {
        match keyword {
            "$ref" => {
                let target = self.reference(argument)?;
                self.value(target, value, depth)
            }
            "allOf" | "anyOf" | "oneOf" | "not" | "if" => {
                self.combination(schema, keyword, argument, value, depth)
            }
            "type" | "enum" | "const" => self.any_value(keyword, argument, value),
            "$dynamicRef" | "$recursiveRef" | "unevaluatedProperties" | "unevaluatedItems" => {
                unusable(format!("`{keyword}` cannot be checked"))
            }
            _ => match value {
                Value::Number(number) => number_keyword(keyword, argument, number),
                Value::String(text) => self.text(keyword, argument, text),
                Value::Array(items) => self.array(schema, keyword, argument, items, depth),
                Value::Object(entries) => self.object(schema, keyword, argument, entries, depth),
                Value::Null | Value::Bool(_) => Ok(()),
            },
        }
    }

    /// A reference within the schema's document.
    fn reference(&self, argument: &Value) -> Result<&'s Value, Failure> {
        let text = argument.as_str().unwrap_or_default();
        match text.strip_prefix('#') {
            Some(pointer) if pointer.is_empty() || pointer.starts_with('/') => {
                match self.root.pointer(pointer) {
                    Some(target) => Ok(target),
                    None => unusable(format!("`$ref: {text}` leads nowhere")),
                }
            }
            _ => unusable(format!("`$ref: {text}` is not within the document (`#/…`)")),
        }
    }

    fn combination(
        &mut self,
        schema: &'s Map<String, Value>,
        keyword: &str,
        argument: &'s Value,
        value: &Value,
        depth: u32,
    ) -> Checked {
        let schemas = argument.as_array().map(Vec::as_slice).unwrap_or_default();
        match keyword {
            "allOf" => schemas.iter().try_for_each(|schema| self.value(schema, value, depth)),
            "anyOf" | "oneOf" => {
                let mut matching = 0;
                for schema in schemas {
                    matching += usize::from(self.matches(schema, value, depth)?);
                }
                match (keyword, matching) {
                    (_, 0) => mismatch(format!("matches none of `{keyword}`")),
                    ("oneOf", 2..) => mismatch(format!("matches {matching} of `oneOf`")),
                    _ => Ok(()),
                }
            }
            "not" if self.matches(argument, value, depth)? => mismatch("matches what `not` forbids"),
            "if" => {
                let branch = if self.matches(argument, value, depth)? { "then" } else { "else" };
                schema.get(branch).map_or(Ok(()), |schema| self.value(schema, value, depth))
            }
            _ => Ok(()),
        }
    }

    fn matches(&mut self, schema: &'s Value, value: &Value, depth: u32) -> Result<bool, Failure> {
        match self.value(schema, value, depth) {
            Ok(()) => Ok(true),
            Err(Failure::Mismatch { .. }) => Ok(false),
            Err(unusable) => Err(unusable),
        }
    }

    fn any_value(&mut self, keyword: &str, argument: &Value, value: &Value) -> Checked {
        match keyword {
            "type" => {
                let matches = match argument {
                    Value::Array(types) => types.iter().any(|kind| is_of_type(value, kind)),
                    kind => is_of_type(value, kind),
                };
                if matches { Ok(()) } else { mismatch(format!("must be of type {}", list(argument))) }
            }
            "const" => {
                if self.equal(argument, value)? {
                    Ok(())
                } else {
                    mismatch(format!("must be {argument}"))
                }
            }
            _ => {
                for allowed in argument.as_array().map(Vec::as_slice).unwrap_or_default() {
                    if self.equal(allowed, value)? {
                        return Ok(());
                    }
                }
                mismatch(format!("must be one of {}", list(argument)))
            }
        }
    }

    /// Equality of JSON: `1` and `1.0` are the same number, and the order of keys does not count.
    fn equal(&mut self, left: &Value, right: &Value) -> Result<bool, Failure> {
        self.spend(1)?;
        Ok(match (left, right) {
            (Value::Number(left), Value::Number(right)) => left == right || left.as_f64() == right.as_f64(),
            (Value::String(left), Value::String(right)) => left == right,
            (Value::Array(left), Value::Array(right)) => {
                left.len() == right.len() && {
                    for (left, right) in left.iter().zip(right) {
                        if !self.equal(left, right)? {
                            return Ok(false);
                        }
                    }
                    true
                }
            }
            (Value::Object(left), Value::Object(right)) => {
                left.len() == right.len() && {
                    for (key, left) in left {
                        match right.get(key) {
                            Some(right) if self.equal(left, right)? => {}
                            _ => return Ok(false),
                        }
                    }
                    true
                }
            }
            (left, right) => left == right,
        })
    }

    fn text(&mut self, keyword: &str, argument: &Value, text: &str) -> Checked {
        match keyword {
            "minLength" | "maxLength" => {
                self.spend(text.len() / 16)?;
                within_count(keyword, argument, text.chars().count(), "characters")
            }
            "pattern" if !self.finds(argument, text)? => mismatch(format!("must match {argument}")),
            _ => Ok(()),
        }
    }

    fn finds(&mut self, pattern: &Value, text: &str) -> Result<bool, Failure> {
        let pattern = pattern.as_str().unwrap_or_default();
        self.spend(8 + text.len() / 16 * (1 + pattern.len() / 8))?;
        match regex_lite::RegexBuilder::new(pattern).size_limit(MAX_PATTERN_BYTES).build() {
            Ok(regex) => Ok(regex.is_match(text)),
            Err(cause) => unusable(format!("pattern `{pattern}`: {cause}")),
        }
    }

    fn array(
        &mut self,
        schema: &'s Map<String, Value>,
        keyword: &str,
        argument: &'s Value,
        items: &[Value],
        depth: u32,
    ) -> Checked {
        match keyword {
            "minItems" | "maxItems" => within_count(keyword, argument, items.len(), "items"),
            "prefixItems" => {
                let schemas = argument.as_array().map(Vec::as_slice).unwrap_or_default();
                for (index, (schema, item)) in schemas.iter().zip(items).enumerate() {
                    within(self.value(schema, item, depth), &index.to_string())?;
                }
                Ok(())
            }
            "items" => {
                let prefix = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                for (index, item) in items.iter().enumerate().skip(prefix) {
                    within(self.value(argument, item, depth), &index.to_string())?;
                }
                Ok(())
            }
            "contains" => {
                let mut matching = 0;
                for item in items {
                    matching += usize::from(self.matches(argument, item, depth)?);
                }
                let minimum = schema.get("minContains").and_then(Value::as_f64).unwrap_or(1.0);
                let maximum = schema.get("maxContains").and_then(Value::as_f64).unwrap_or(f64::INFINITY);
                if (minimum..=maximum).contains(&(matching as f64)) {
                    return Ok(());
                }
                mismatch(format!("has {matching} items that `contains` asks for"))
            }
            "uniqueItems" if *argument == Value::Bool(true) => {
                for (index, item) in items.iter().enumerate() {
                    for (earlier, other) in items[..index].iter().enumerate() {
                        if self.equal(item, other)? {
                            return mismatch(format!("has equal items at {earlier} and {index}"));
                        }
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn object(
        &mut self,
        schema: &'s Map<String, Value>,
        keyword: &str,
        argument: &'s Value,
        entries: &Map<String, Value>,
        depth: u32,
    ) -> Checked {
        match keyword {
            "minProperties" | "maxProperties" => within_count(keyword, argument, entries.len(), "properties"),
            "required" => require(entries, argument),
            "properties" => {
                for (key, schema) in argument.as_object().into_iter().flatten() {
                    if let Some(value) = entries.get(key) {
                        within(self.value(schema, value, depth), key)?;
                    }
                }
                Ok(())
            }
            "patternProperties" => {
                for (pattern, schema) in argument.as_object().into_iter().flatten() {
                    let pattern = Value::String(pattern.clone());
                    for (key, value) in entries {
                        if self.finds(&pattern, key)? {
                            within(self.value(schema, value, depth), key)?;
                        }
                    }
                }
                Ok(())
            }
            "additionalProperties" => {
                for (key, value) in entries {
                    if !self.is_named(schema, key)? {
                        within(self.value(argument, value, depth), key)?;
                    }
                }
                Ok(())
            }
            "propertyNames" => {
                for key in entries.keys() {
                    within(self.value(argument, &Value::String(key.clone()), depth), key)?;
                }
                Ok(())
            }
            "dependentRequired" => {
                for (key, required) in argument.as_object().into_iter().flatten() {
                    if entries.contains_key(key) {
                        require(entries, required)?;
                    }
                }
                Ok(())
            }
            "dependentSchemas" => {
                for (key, schema) in argument.as_object().into_iter().flatten() {
                    if entries.contains_key(key) {
                        self.value(schema, &Value::Object(entries.clone()), depth)?;
                    }
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Whether `properties` or `patternProperties` speak of a key.
    fn is_named(&mut self, schema: &Map<String, Value>, key: &str) -> Result<bool, Failure> {
        if schema.get("properties").and_then(Value::as_object).is_some_and(|named| named.contains_key(key)) {
            return Ok(true);
        }
        for pattern in
            schema.get("patternProperties").and_then(Value::as_object).into_iter().flat_map(Map::keys)
        {
            if self.finds(&Value::String(pattern.clone()), key)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

#[cfg(test)]
mod tests;
