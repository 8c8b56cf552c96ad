//! JSON that may hold secrets: wiped when it is dropped. What the HTTP and TLS libraries read through is out of our hands.

use serde_json::Value;
use zeroize::{Zeroize, Zeroizing};

/// A JSON value. It has no `Debug`.
#[derive(Default)]
pub(crate) struct SecretJson(Value);

impl SecretJson {
    /// Parses a body; the message of a failure names its place alone.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let parsed = serde_json::from_slice(bytes);
        parsed
            .map(SecretJson)
            .map_err(|error| format!("it is not JSON (line {} column {})", error.line(), error.column()))
    }

    /// The value, to be looked at.
    pub(crate) fn value(&self) -> &Value {
        &self.0
    }
}

impl From<Value> for SecretJson {
    fn from(value: Value) -> Self {
        SecretJson(value)
    }
}

impl Drop for SecretJson {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(values) => values.iter_mut().for_each(wipe),
        Value::Object(members) => members.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// A scalar as a step sees it: a string as it is, numbers and booleans as they are written. `None` for what is none.
pub(crate) fn scalar(value: &Value) -> Option<Zeroizing<Vec<u8>>> {
    let text = match value {
        Value::String(text) => text.as_bytes().to_vec(),
        Value::Number(number) => number.to_string().into_bytes(),
        Value::Bool(truth) => truth.to_string().into_bytes(),
        Value::Null => Vec::new(),
        Value::Array(_) | Value::Object(_) => return None,
    };
    Some(Zeroizing::new(text))
}

/// RFC 3339 in UTC as milliseconds since the Unix epoch.
pub(crate) fn time_ms(text: Option<&Value>) -> Option<i64> {
    text?.as_str()?.parse::<jiff::Timestamp>().ok().map(jiff::Timestamp::as_millisecond)
}
