//! URIs of calls: templates (RFC 6570 level 1) and queries.

use std::collections::BTreeMap;

use protocol::step::NetworkRule;
use serde_json::Value;

use crate::scope::as_text;

/// Replaces each `{name}` or `{name.inner}` by that value of `input`, percent-encoded.
///
/// # Errors
/// A sentence, when the input has no such key or its value is no text, number or boolean.
pub(crate) fn expand(template: &str, input: &Value) -> Result<String, String> {
    let mut uri = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let Some((name, after)) = after.split_once('}') else {
            break;
        };
        uri.push_str(before);
        match name.split('.').try_fold(input, |value, key| value.get(key)) {
            Some(value @ (Value::String(_) | Value::Number(_) | Value::Bool(_))) => {
                encode(&as_text(value), &mut uri);
            }
            Some(_) => {
                return Err(format!("`{{{name}}}` of the URI is no text, number or boolean in the input"));
            }
            None => return Err(format!("`{{{name}}}` of the URI is no key of the task's input")),
        }
        rest = after;
    }
    uri.push_str(rest);
    Ok(uri)
}

/// Adds parameters to the query of a URI, before its fragment.
pub(crate) fn with_query(uri: &str, query: &BTreeMap<String, String>) -> String {
    if query.is_empty() {
        return uri.to_owned();
    }
    let (uri, fragment) = match uri.find('#') {
        Some(at) => uri.split_at(at),
        None => (uri, ""),
    };
    let mut result = uri.to_owned();
    let mut separator = if uri.contains('?') { '&' } else { '?' };
    for (key, value) in query {
        result.push(separator);
        encode(key, &mut result);
        result.push('=');
        encode(value, &mut result);
        separator = '&';
    }
    result.push_str(fragment);
    result
}

/// Host and port that an `http` or `https` URI names.
pub(crate) fn destination(uri: &str) -> Option<NetworkRule> {
    let (scheme, rest) = uri.split_once("://")?;
    let usual_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    let authority = rest.split(['/', '?', '#', '\\']).next()?;
    let authority = authority.rsplit('@').next()?;
    let (host, port) = match authority.strip_prefix('[') {
        Some(address) => {
            let (address, port) = address.split_once(']')?;
            (address, port.strip_prefix(':').unwrap_or_default())
        }
        None => authority.split_once(':').unwrap_or((authority, "")),
    };
    let port = if port.is_empty() { usual_port } else { port.parse().ok()? };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    (!host.is_empty()).then_some(NetworkRule { host, subdomains: false, port })
}

/// Percent-encodes everything but the unreserved characters of RFC 3986.
fn encode(text: &str, into: &mut String) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            into.push(char::from(byte));
        } else {
            into.push('%');
            into.push(char::from(HEX[usize::from(byte >> 4)]));
            into.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_replaced_by_encoded_values() {
        let input = json!({"id": 7, "name": "a b/ü", "deep": {"er": true}});
        assert_eq!(
            expand("https://x/pets/{id}?q={name}", &input).unwrap(),
            "https://x/pets/7?q=a%20b%2F%C3%BC"
        );
        assert_eq!(expand("https://x/{deep.er}", &input).unwrap(), "https://x/true");
        assert_eq!(expand("https://x/", &input).unwrap(), "https://x/");
        assert!(expand("https://x/{missing}", &input).unwrap_err().contains("missing"));
        assert!(expand("https://x/{deep}", &input).is_err());
    }

    #[test]
    fn a_destination_is_host_and_port() {
        let of = |uri| destination(uri).map(|rule| format!("{} {}", rule.host, rule.port));
        for (uri, expected) in [
            ("https://API.example.com/x?a@b:1", "api.example.com 443"),
            ("http://user:pass@host.:8080#f", "host 8080"),
            ("http://[::1]:81/", "::1 81"),
            ("http://[::1]", "::1 80"),
            ("http://10.0.0.1?x=http://other/", "10.0.0.1 80"),
        ] {
            assert_eq!(of(uri).as_deref(), Some(expected), "{uri}");
        }
        for none in ["ftp://host/", "host", "http://", "http://host:port/", "http://host:99999/"] {
            assert_eq!(of(none), None, "{none}");
        }
    }

    #[test]
    fn a_query_is_added_to_what_is_there() {
        let query = BTreeMap::from([("a".to_owned(), "1 2".to_owned()), ("b".to_owned(), "&".to_owned())]);
        assert_eq!(with_query("https://x/y", &query), "https://x/y?a=1%202&b=%26");
        assert_eq!(with_query("https://x/y?z=0#part", &query), "https://x/y?z=0&a=1%202&b=%26#part");
        assert_eq!(with_query("https://x/y", &BTreeMap::new()), "https://x/y");
    }
}
