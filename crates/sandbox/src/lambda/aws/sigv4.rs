//! Signature Version 4 of AWS: a request is signed with a key that is derived for day, region and service. Pure.

use hmac::{Hmac, KeyInit, Mac};
use protocol::lambda::to_hex;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::credentials::Credentials;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// What is signed.
pub(super) struct Unsigned<'a> {
    pub(super) method: &'a str,
    /// Path of the request line, its parts percent-encoded once.
    pub(super) path: &'a str,
    /// Names and values, not encoded.
    pub(super) query: &'a [(String, String)],
    /// Names in lower case, `host` among them.
    pub(super) headers: &'a [(String, String)],
    pub(super) body: &'a [u8],
}

/// Where and when a signature is valid.
pub(super) struct Scope<'a> {
    pub(super) region: &'a str,
    pub(super) service: &'a str,
    /// As in `20150830T123600Z`.
    pub(super) time: &'a str,
}

/// The value of the header `authorization`.
pub(super) fn authorization(request: &Unsigned<'_>, scope: &Scope<'_>, credentials: &Credentials) -> String {
    let day = scope.time.split('T').next().unwrap_or_default();
    let credential = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    let (canonical, signed_headers) = canonical(request);
    let text = format!("{ALGORITHM}\n{}\n{credential}\n{}", scope.time, hash(canonical.as_bytes()));
    let key = Zeroizing::new(format!("AWS4{}", credentials.secret.as_str()).into_bytes());
    let key =
        [day, scope.region, scope.service, "aws4_request"].iter().fold(key, |key, part| hmac(&key, part));
    let signature = to_hex(&hmac(&key, &text));
    format!(
        "{ALGORITHM} Credential={}/{credential}, SignedHeaders={signed_headers}, Signature={signature}",
        credentials.id
    )
}

/// The hash of a body, as the header `x-amz-content-sha256` and the canonical request have it.
pub(super) fn hash(bytes: &[u8]) -> String {
    to_hex(&Sha256::digest(bytes))
}

fn hmac(key: &[u8], text: &str) -> Zeroizing<Vec<u8>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(text.as_bytes());
    Zeroizing::new(mac.finalize().into_bytes().to_vec())
}

fn canonical(request: &Unsigned<'_>) -> (String, String) {
    let mut headers: Vec<(&str, String)> = request
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect();
    headers.sort();
    let signed: Vec<&str> = headers.iter().map(|(name, _)| *name).collect();
    let signed = signed.join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
    // Every service but S3 encodes the path of the request line once more.
    let path = encode(request.path, true);
    let text = format!(
        "{}\n{path}\n{}\n{lines}\n{signed}\n{}",
        request.method,
        query_string(request.query),
        hash(request.body)
    );
    (text, signed)
}

/// The query as it is sent and signed: encoded, sorted.
pub(super) fn query_string(query: &[(String, String)]) -> String {
    let mut pairs: Vec<(String, String)> =
        query.iter().map(|(name, value)| (encode(name, false), encode(value, false))).collect();
    pairs.sort();
    pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("&")
}

/// Percent-encoding of all but the unreserved characters of RFC 3986, and of `/` if `path`.
pub(super) fn encode(text: &str, path: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (path && byte == b'/') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials() -> Credentials {
        Credentials {
            id: "AKIDEXAMPLE".to_owned(),
            secret: Zeroizing::new("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned()),
            session: None,
            expires: None,
        }
    }

    /// The example of AWS's documentation of the signing process ("GET iam ListUsers").
    #[test]
    fn signs_the_documented_example() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let request = Unsigned {
            method: "GET",
            path: "/",
            query: &[pair("Version", "2010-05-08"), pair("Action", "ListUsers")],
            headers: &[
                pair("content-type", "application/x-www-form-urlencoded; charset=utf-8"),
                pair("host", "iam.amazonaws.com"),
                pair("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
        };
        let scope = Scope { region: "us-east-1", service: "iam", time: "20150830T123600Z" };
        assert_eq!(
            hash(canonical(&request).0.as_bytes()),
            "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
        );
        assert_eq!(
            authorization(&request, &scope, &credentials()),
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, \
             SignedHeaders=content-type;host;x-amz-date, \
             Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
        );
    }

    #[test]
    fn paths_are_encoded_once_more() {
        let request = Unsigned { method: "GET", path: "/a%3Ab", query: &[], headers: &[], body: b"" };
        assert!(canonical(&request).0.starts_with("GET\n/a%253Ab\n\n"));
        assert_eq!(encode("a b/ü~", false), "a%20b%2F%C3%BC~");
    }
}
