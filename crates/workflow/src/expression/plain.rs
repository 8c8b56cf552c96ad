//! The fast path: expressions that are only a place, such as `.a.b` or `$context.x[0]`, need no machine and copy no more
//! than what they give.

use serde_json::Value;

use super::Variables;
use super::value::{MAX_DEPTH, MAX_WEIGHT, Val};
use super::work::{Fault, Outcome, Work, raise};

pub(super) struct PlainPath {
    /// The variable it starts from, without `$`; the input if none. At most one.
    pub(super) variable: Vec<String>,
    keys: Vec<Key>,
}

enum Key {
    Name(String),
    Position(usize),
}

impl PlainPath {
    /// `None` for whatever is not plain, right or wrong.
    pub(super) fn parse(source: &str) -> Option<PlainPath> {
        let (variable, mut rest) = match source.strip_prefix('$') {
            Some(rest) => {
                let (name, rest) = split_name(rest)?;
                if matches!(name, "secrets" | "ENV" | "__loc__" | "__prog_args" | "__prog_name") {
                    return None;
                }
                (vec![name.to_owned()], rest)
            }
            None => (Vec::new(), source),
        };
        if variable.is_empty() {
            if !rest.starts_with('.') {
                return None;
            }
            if rest == "." {
                return Some(PlainPath { variable, keys: Vec::new() });
            }
        }
        let mut keys = Vec::new();
        while !rest.is_empty() {
            if let Some(after) =
                rest.strip_prefix('[').or_else(|| rest.strip_prefix(".[").filter(|_| keys.is_empty()))
            {
                let (number, tail) = after.split_once(']')?;
                let canonical = number == "0" || !number.starts_with('0');
                if number.is_empty()
                    || number.len() > 6
                    || !canonical
                    || !number.bytes().all(|b| b.is_ascii_digit())
                {
                    return None;
                }
                keys.push(Key::Position(number.parse().ok()?));
                rest = tail;
            } else {
                let (name, tail) = split_name(rest.strip_prefix('.')?)?;
                keys.push(Key::Name(name.to_owned()));
                rest = tail;
            }
        }
        Some(PlainPath { variable, keys })
    }

    pub(super) fn follow<'a>(
        &self,
        input: &Value,
        variables: &Variables<'_>,
        work: &mut Work,
    ) -> Outcome<'a, Value> {
        work.spend(1 + self.keys.len() as u64)?;
        let mut value = input;
        if let Some(name) = self.variable.first() {
            match variables.look_up(name) {
                Some(found) => value = found,
                None => return raise(format!("there is no variable ${name} here")),
            }
        }
        for key in &self.keys {
            value = match (value, key) {
                (Value::Object(entries), Key::Name(name)) => entries.get(name).unwrap_or(&Value::Null),
                (Value::Array(items), Key::Position(at)) => items.get(*at).unwrap_or(&Value::Null),
                (Value::Null, _) => &Value::Null,
                (other, Key::Name(name)) => {
                    return raise(format!("cannot index {} with \"{name}\"", kind(other)));
                }
                (other, Key::Position(_)) => {
                    return raise(format!("cannot index {} with number", kind(other)));
                }
            };
        }
        let (weight, depth) = measure(value, work)?;
        if depth > MAX_DEPTH {
            return Err(Fault::Budget("depth"));
        }
        if weight > MAX_WEIGHT {
            return Err(Fault::Budget("output"));
        }
        Ok(value.clone())
    }
}

/// An identifier, and what follows.
fn split_name(text: &str) -> Option<(&str, &str)> {
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len());
    let (name, rest) = text.split_at(end);
    (!name.is_empty() && !name.starts_with(|c: char| c.is_ascii_digit())).then_some((name, rest))
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

fn measure<'a>(value: &Value, work: &mut Work) -> Outcome<'a, (u64, u32)> {
    match value {
        // The measure of a value does not depend on how long it is borrowed.
        Value::Array(_) | Value::Object(_) => {
            Val::Json(value).measure(work).map_err(|_| Fault::Budget("output"))
        }
        Value::String(text) => Ok((text.len() as u64, 0)),
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok((0, 0)),
    }
}
