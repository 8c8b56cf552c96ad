//! Canonical JSON (RFC 8785) of what we write: strings, booleans, null, integers within ±(2^53 − 1), arrays, objects. Other
//! numbers are refused, since their one text form is a matter of its own.

use serde::Serialize;
use serde_json::Value;

/// Largest integer whose canonical form is exact.
const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Why a value has no canonical form here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CanonicalError {
    /// A fraction, or an integer beyond ±(2^53 − 1).
    #[error("a number that is no integer within 2^53")]
    Number,
    /// Not representable in JSON.
    #[error("not representable in JSON")]
    NotJson,
}

/// The canonical text of a value.
pub fn canonical<T: Serialize + ?Sized>(value: &T) -> Result<String, CanonicalError> {
    let value = serde_json::to_value(value).map_err(|_| CanonicalError::NotJson)?;
    let mut out = String::new();
    write(&value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        Value::Number(number) => {
            let integer = number.as_i64().filter(|integer| integer.unsigned_abs() <= MAX_INTEGER as u64);
            out.push_str(&integer.ok_or(CanonicalError::Number)?.to_string());
        }
        // serde_json escapes exactly what RFC 8785 §3.2.2.2 escapes, in the same way.
        Value::String(text) => {
            out.push_str(&serde_json::to_string(text).map_err(|_| CanonicalError::NotJson)?)
        }
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| a.0.encode_utf16().cmp(b.0.encode_utf16()));
            out.push('{');
            for (at, (name, member)) in members.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(name).map_err(|_| CanonicalError::NotJson)?);
                out.push(':');
                write(member, out)?;
            }
            out.push('}');
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The sorting example of RFC 8785 §3.2.3 and the string of §3.2.2.
    #[test]
    fn sorts_and_escapes_as_rfc_8785() {
        let value = json!({
            "\u{20ac}": "Euro Sign", "\r": "Carriage Return", "\u{fb33}": "Hebrew Letter Dalet With Dagesh", "1": "One",
            "\u{1f600}": "Emoji: Grinning Face", "\u{80}": "Control", "\u{f6}": "Latin Small Letter O With Diaeresis"
        });
        assert_eq!(
            canonical(&value).unwrap(),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\"ö\":\"Latin Small Letter O With Diaeresis\",\
             \"€\":\"Euro Sign\",\"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
        let text = "\u{20ac}$\u{000F}\nA'\u{0042}\u{0022}\u{005c}\\\"/";
        assert_eq!(canonical(text).unwrap(), r#""€$\u000f\nA'B\"\\\\\"/""#);
    }

    #[test]
    fn refuses_numbers_without_an_exact_form() {
        assert_eq!(canonical(&json!([0, -1, true, null])).unwrap(), "[0,-1,true,null]");
        assert_eq!(canonical(&json!(1.5)), Err(CanonicalError::Number));
        assert_eq!(canonical(&(1u64 << 53)), Err(CanonicalError::Number));
    }
}
