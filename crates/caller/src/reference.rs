//! Where a redirect goes: references of RFC 3986 §5.2, resolved against the URI that they came from.

use http::Uri;

/// The URI that `reference` names at `base`; `None` if it is none, or not one of HTTP.
pub(crate) fn resolve(base: &Uri, reference: &str) -> Option<Uri> {
    let reference = escaped(reference.trim().split('#').next().unwrap_or_default());
    let (scheme, authority) = (base.scheme_str()?, base.authority()?.as_str());
    let text = if has_scheme(&reference) {
        reference
    } else if reference.starts_with("//") {
        format!("{scheme}:{reference}")
    } else {
        let (path, query) = match reference.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (reference.as_str(), None),
        };
        let query = if path.is_empty() { query.or(base.query()) } else { query };
        let query = query.map(|query| format!("?{query}")).unwrap_or_default();
        format!("{scheme}://{authority}{}{query}", joined(base.path(), path))
    };
    let uri: Uri = text.parse().ok()?;
    (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty()))
        .then_some(uri)
}

fn has_scheme(reference: &str) -> bool {
    let scheme = reference.split([':', '/', '?']).next().unwrap_or_default();
    reference[scheme.len()..].starts_with(':')
        && scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'-' | b'.'))
}

/// `path` at the place of the last segment of `base`, without `.` and `..`.
fn joined(base: &str, path: &str) -> String {
    if path.is_empty() {
        return base.to_owned();
    }
    let folder = if path.starts_with('/') { "" } else { &base[..base.rfind('/').map_or(0, |at| at + 1)] };
    let whole = format!("{folder}{path}");
    let mut kept: Vec<&str> = Vec::new();
    let mut segments = whole.strip_prefix('/').unwrap_or(&whole).split('/').peekable();
    while let Some(segment) = segments.next() {
        let last = segments.peek().is_none();
        match segment {
            "." => {}
            ".." => {
                kept.pop();
            }
            segment => {
                kept.push(segment);
                continue;
            }
        }
        if last {
            kept.push("");
        }
    }
    format!("/{}", kept.join("/"))
}

/// What may not stand in a URI, as servers send it all the same, in its escaped form.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            0x21..=0x7e if !b"\"<>\\^`{|}".contains(&byte) => out.push(byte as char),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_resolve_as_rfc_3986_says() {
        let base: Uri = "http://a:81/b/c/d?q".parse().unwrap();
        for (reference, expected) in [
            ("g", "http://a:81/b/c/g"),
            ("./g/", "http://a:81/b/c/g/"),
            ("/g", "http://a:81/g"),
            ("//g/h", "http://g/h"),
            ("?y", "http://a:81/b/c/d?y"),
            ("g?y/./x", "http://a:81/b/c/g?y/./x"),
            ("", "http://a:81/b/c/d?q"),
            (".", "http://a:81/b/c/"),
            ("..", "http://a:81/b/"),
            ("../../../g", "http://a:81/g"),
            ("g;x=1/../y", "http://a:81/b/c/y"),
            ("https://h/p#f", "https://h/p"),
            ("gr\u{fc}n x", "http://a:81/b/c/gr%C3%BCn%20x"),
            ("x?u=http://other/", "http://a:81/b/c/x?u=http://other/"),
        ] {
            assert_eq!(
                resolve(&base, reference).map(|uri| uri.to_string()).as_deref(),
                Some(expected),
                "{reference}"
            );
        }
        for none in ["mailto:x@y", "file:///etc/passwd", "http://", "https:"] {
            assert_eq!(resolve(&base, none), None, "{none}");
        }
    }
}
