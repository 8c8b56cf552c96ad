//! Keywords that need no other schema: numbers, counts, types, required keys.

use serde_json::{Map, Number, Value};

use super::{Checked, mismatch};

pub(super) fn require(entries: &Map<String, Value>, keys: &Value) -> Checked {
    let mut keys = keys.as_array().into_iter().flatten().filter_map(Value::as_str);
    match keys.find(|key| !entries.contains_key(*key)) {
        Some(key) => mismatch(format!("has no `{key}`, which is required")),
        None => Ok(()),
    }
}

pub(super) fn number_keyword(keyword: &str, argument: &Value, number: &Number) -> Checked {
    let (Some(limit), Some(actual)) = (argument.as_f64(), number.as_f64()) else {
        return Ok(());
    };
    let (holds, words) = match keyword {
        "minimum" => (actual >= limit, "at least"),
        "maximum" => (actual <= limit, "at most"),
        "exclusiveMinimum" => (actual > limit, "more than"),
        "exclusiveMaximum" => (actual < limit, "less than"),
        "multipleOf" => ((actual / limit).fract() == 0.0, "a multiple of"),
        _ => return Ok(()),
    };
    if holds { Ok(()) } else { mismatch(format!("must be {words} {argument}")) }
}

pub(super) fn within_count(keyword: &str, argument: &Value, actual: usize, unit: &str) -> Checked {
    let Some(limit) = argument.as_f64() else {
        return Ok(());
    };
    let (holds, words) = if keyword.starts_with("min") {
        (actual as f64 >= limit, "at least")
    } else {
        (actual as f64 <= limit, "at most")
    };
    if holds { Ok(()) } else { mismatch(format!("must have {words} {argument} {unit}, has {actual}")) }
}

pub(super) fn is_of_type(value: &Value, kind: &Value) -> bool {
    match (kind.as_str().unwrap_or_default(), value) {
        ("null", Value::Null)
        | ("boolean", Value::Bool(_))
        | ("number", Value::Number(_))
        | ("string", Value::String(_))
        | ("array", Value::Array(_))
        | ("object", Value::Object(_)) => true,
        ("integer", Value::Number(number)) => number.as_f64().is_some_and(|number| number.fract() == 0.0),
        _ => false,
    }
}

pub(super) fn list(argument: &Value) -> String {
    match argument {
        Value::Array(items) => items.iter().map(list).collect::<Vec<_>>().join(", "),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
