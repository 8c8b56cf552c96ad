//! From the last reply to the task's output (DSL `call: http` `with.output`).

use base64ct::{Base64, Encoding};
use protocol::step::{HttpCall, HttpOutput, StepError};
use serde_json::{Map, Value, json};

use crate::failure::{communication, configuration};
use crate::request::{Reply, Request, place};

/// Bytes of a body, and of the output that is made of it. More does not fit into a run's data.
pub const MAX_ANSWER_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of an answer that an error's detail quotes.
const QUOTED_BYTES: usize = 512;

/// The last request and its reply, as far as a document may see them.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Method of the request that was answered.
    pub method: String,
    /// Its URI, without user information and query.
    pub uri: String,
    /// Its header fields, those with credentials left out.
    pub sent: Vec<(String, String)>,
    /// Header fields of the answer.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    pub(crate) fn new(request: &Request, reply: &Reply) -> Self {
        let visible = |headers: &http::HeaderMap| {
            let shown = headers.iter().filter(|(_, value)| !value.is_sensitive());
            shown
                .map(|(name, value)| {
                    (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                })
                .collect()
        };
        Answer {
            status: reply.status.as_u16(),
            method: request.method.as_str().to_owned(),
            uri: place(&request.uri),
            sent: visible(&request.headers),
            headers: visible(&reply.headers),
            body: reply.body.to_vec(),
        }
    }

    fn is_json(&self) -> bool {
        let kind = self.headers.iter().find(|(name, _)| name == "content-type");
        kind.is_some_and(|(_, kind)| {
            kind.split(';').next().is_some_and(|kind| kind.trim().to_ascii_lowercase().ends_with("json"))
        })
    }
}

/// The task's output.
///
/// # Errors
/// The other side answered with an error status, or with more than a run's data may hold.
pub fn output(call: &HttpCall, answer: &Answer) -> Result<Value, StepError> {
    let accepted =
        (200..300).contains(&answer.status) || (call.redirect && (300..400).contains(&answer.status));
    if !accepted {
        let quoted = &answer.body[..answer.body.len().min(QUOTED_BYTES)];
        let quoted = String::from_utf8_lossy(quoted).trim().to_owned();
        let said = if quoted.is_empty() { String::new() } else { format!(": {quoted}") };
        let status = http::StatusCode::from_u16(answer.status);
        let status = status.map_or_else(|_| answer.status.to_string(), |status| status.to_string());
        return Err(communication(
            answer.status,
            format!("{} {} answered {status}{said}", answer.method, answer.uri),
        ));
    }
    let value = match call.output {
        HttpOutput::Content => content(answer),
        HttpOutput::Raw => Value::String(Base64::encode_string(&answer.body)),
        HttpOutput::Response => json!({
            "request": { "method": answer.method, "uri": answer.uri, "headers": object(&answer.sent) },
            "statusCode": answer.status,
            "headers": object(&answer.headers),
            "content": content(answer),
        }),
    };
    // Base64 and escapes make it longer than the body was.
    if serde_json::to_vec(&value).is_ok_and(|text| text.len() > MAX_ANSWER_BYTES) {
        return Err(too_large(&answer.uri));
    }
    Ok(value)
}

/// The one error for all that is too large, wherever that shows.
pub fn too_large(uri: &str) -> StepError {
    configuration(format!(
        "the answer of {uri} is larger than {} MiB, the most that a task's output may be; ask for less at a time, or \
         fetch it by `run` into a file below /workspace that `artifacts` names",
        MAX_ANSWER_BYTES / 1024 / 1024
    ))
}

/// JSON where the answer says that it is, or where it parses as an object or array; `null` for no content; else text.
fn content(answer: &Answer) -> Value {
    let body = &answer.body;
    if body.is_empty() {
        return Value::Null;
    }
    let structured = body.iter().find(|b| !b.is_ascii_whitespace()).is_some_and(|b| matches!(b, b'{' | b'['));
    if (answer.is_json() || structured)
        && let Ok(value) = serde_json::from_slice(body)
    {
        return value;
    }
    Value::String(String::from_utf8_lossy(body).into_owned())
}

/// Header fields by name; those that come several times are joined, as RFC 9110 §5.2 allows.
fn object(headers: &[(String, String)]) -> Value {
    let mut map = Map::new();
    for (name, value) in headers {
        match map.get_mut(name) {
            Some(Value::String(before)) => {
                before.push_str(", ");
                before.push_str(value);
            }
            _ => {
                map.insert(name.clone(), value.clone().into());
            }
        }
    }
    Value::Object(map)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, kind: &str, body: &[u8]) -> Answer {
        Answer {
            status,
            method: "GET".into(),
            uri: "http://host/".into(),
            sent: Vec::new(),
            headers: vec![
                ("content-type".into(), kind.into()),
                ("x".into(), "1".into()),
                ("x".into(), "2".into()),
            ],
            body: body.to_vec(),
        }
    }

    fn call(output: HttpOutput) -> HttpCall {
        HttpCall {
            method: "GET".into(),
            uri: "http://host/".into(),
            headers: Vec::new(),
            body: None,
            output,
            redirect: false,
            authentication: None,
        }
    }

    #[test]
    fn content_is_json_text_or_null() {
        let content =
            |kind, body: &[u8]| output(&call(HttpOutput::Content), &answer(200, kind, body)).unwrap();
        assert_eq!(content("application/problem+json; charset=utf-8", b"7"), json!(7));
        assert_eq!(content("text/plain", b"7"), json!("7"));
        assert_eq!(content("text/plain", b" {\"a\": 1}"), json!({"a": 1}));
        assert_eq!(content("application/json", b""), Value::Null);
        assert_eq!(content("application/json", b"{"), json!("{"));
        let whole = output(&call(HttpOutput::Response), &answer(204, "", b"")).unwrap();
        assert_eq!(whole["content"], Value::Null);
        assert_eq!(whole["headers"]["x"], "1, 2");
    }

    #[test]
    fn an_error_status_is_an_error_that_quotes_the_answer() {
        let error = output(&call(HttpOutput::Content), &answer(503, "", b"busy ")).unwrap_err();
        assert_eq!(
            (error.status, error.detail.as_str()),
            (503, "GET http://host/ answered 503 Service Unavailable: busy")
        );
        assert_eq!(output(&call(HttpOutput::Content), &answer(302, "", b"")).unwrap_err().status, 302);
    }

    #[test]
    fn one_limit_whatever_the_output_is_made_of() {
        let most = vec![b'x'; MAX_ANSWER_BYTES];
        for kind in [HttpOutput::Content, HttpOutput::Raw, HttpOutput::Response] {
            let error = output(&call(kind), &answer(200, "", &most)).unwrap_err();
            assert_eq!(error, too_large("http://host/"));
        }
        assert!(output(&call(HttpOutput::Content), &answer(200, "", &most[2..])).is_ok());
    }
}
