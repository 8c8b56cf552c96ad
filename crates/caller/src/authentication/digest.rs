//! Digest authentication (RFC 7616): reading a challenge, answering it.

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use md5::Md5;
use protocol::step::StepError;
use sha2::{Digest, Sha256};

use crate::failure::authentication;
use crate::request::Request;

/// Bytes of one header field with challenges.
const MAX_CHALLENGE_BYTES: usize = 8 * 1024;

/// What a server asks for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Challenge {
    realm: String,
    nonce: String,
    opaque: Option<String>,
    algorithm: Algorithm,
    session: bool,
    /// Whether it knows `qop=auth`; RFC 2069 did not.
    quality: bool,
}

/// Ordered by strength.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd)]
enum Algorithm {
    #[default]
    Md5,
    Sha256,
}

/// What a challenge is answered with.
pub(crate) struct Answered {
    /// The value of `Authorization`.
    pub(crate) header: String,
    /// The part of it that only someone with the password can make.
    pub(crate) response: String,
}

/// The strongest challenge that can be answered; `None` if none is a digest.
///
/// # Errors
/// There are digests, but of unknown kinds.
pub(crate) fn challenge(headers: &HeaderMap) -> Result<Option<Challenge>, StepError> {
    let mut best: Option<Challenge> = None;
    let mut unknown = None;
    let fields = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
    for parameters in fields.filter(|field| field.len() <= MAX_CHALLENGE_BYTES).flat_map(digests) {
        match Challenge::of(&parameters) {
            Ok(challenge) if best.as_ref().is_none_or(|best| best.algorithm < challenge.algorithm) => {
                best = Some(challenge);
            }
            Ok(_) => {}
            Err(what) => unknown = Some(what),
        }
    }
    match (best, unknown) {
        (None, Some(what)) => Err(authentication(format!(
            "the server asks for a digest with {what}, which is not supported; MD5 and SHA-256 with qop=auth are"
        ))),
        (best, _) => Ok(best),
    }
}

impl Challenge {
    fn of(parameters: &[(String, String)]) -> Result<Self, String> {
        let find =
            |key: &str| parameters.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_str());
        let algorithm = find("algorithm").unwrap_or("MD5").to_ascii_uppercase();
        let (name, session) = match algorithm.strip_suffix("-SESS") {
            Some(name) => (name, true),
            None => (algorithm.as_str(), false),
        };
        let algorithm = match name {
            "MD5" => Algorithm::Md5,
            "SHA-256" => Algorithm::Sha256,
            other => return Err(format!("the algorithm {other:?}")),
        };
        let quality = match find("qop") {
            None => false,
            Some(list) if list.split(',').any(|word| word.trim().eq_ignore_ascii_case("auth")) => true,
            Some(other) => return Err(format!("qop={other:?}")),
        };
        Ok(Challenge {
            realm: find("realm").unwrap_or_default().to_owned(),
            nonce: find("nonce").unwrap_or_default().to_owned(),
            opaque: find("opaque").map(str::to_owned),
            algorithm,
            session,
            quality,
        })
    }

    /// The answer for a request. `cnonce` is the client's part of randomness.
    pub(crate) fn answer(&self, username: &str, password: &str, request: &Request, cnonce: &str) -> Answered {
        const COUNT: &str = "00000001";
        let uri = request.uri.path_and_query().map_or("/", |uri| uri.as_str());
        let mut who = self.hash(&[username, &self.realm, password]);
        if self.session {
            who = self.hash(&[&who, &self.nonce, cnonce]);
        }
        let what = self.hash(&[request.method.as_str(), uri]);
        let response = match self.quality {
            true => self.hash(&[&who, &self.nonce, COUNT, cnonce, "auth", &what]),
            false => self.hash(&[&who, &self.nonce, &what]),
        };
        let algorithm = match self.algorithm {
            Algorithm::Md5 => "MD5",
            Algorithm::Sha256 => "SHA-256",
        };
        let session = if self.session { "-sess" } else { "" };
        let mut header = format!(
            "Digest username={}, realm={}, nonce={}, uri={}, algorithm={algorithm}{session}, response=\"{response}\"",
            quoted(username),
            quoted(&self.realm),
            quoted(&self.nonce),
            quoted(uri)
        );
        if self.quality {
            header.push_str(&format!(", qop=auth, nc={COUNT}, cnonce=\"{cnonce}\""));
        }
        if let Some(opaque) = &self.opaque {
            header.push_str(&format!(", opaque={}", quoted(opaque)));
        }
        Answered { header, response }
    }

    fn hash(&self, parts: &[&str]) -> String {
        let text = parts.join(":");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        match self.algorithm {
            Algorithm::Md5 => hex(&Md5::digest(text.as_bytes())),
            Algorithm::Sha256 => hex(&Sha256::digest(text.as_bytes())),
        }
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The parameters of each `Digest` among the challenges of one header field (RFC 9110 §11.6.1), names lower-case.
fn digests(field: &str) -> Vec<Vec<(String, String)>> {
    let mut found: Vec<Vec<(String, String)>> = Vec::new();
    let mut within = false;
    let mut rest = field;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ',']);
        let word: &str = &rest[..rest.find([' ', '\t', ',', '=']).unwrap_or(rest.len())];
        if word.is_empty() {
            return found;
        }
        rest = &rest[word.len()..];
        let behind = rest.trim_start_matches([' ', '\t']);
        match behind.strip_prefix('=') {
            // A scheme, not a parameter.
            None => {
                within = word.eq_ignore_ascii_case("digest");
                if within {
                    found.push(Vec::new());
                }
            }
            Some(value) => {
                let (value, after) = parameter(value.trim_start_matches([' ', '\t']));
                rest = after;
                if let (true, Some(last)) = (within, found.last_mut()) {
                    last.push((word.to_ascii_lowercase(), value));
                }
            }
        }
    }
}

/// A token or a quoted text, and what follows it.
fn parameter(text: &str) -> (String, &str) {
    let Some(inside) = text.strip_prefix('"') else {
        let end = text.find([' ', '\t', ',']).unwrap_or(text.len());
        // A leading `=`, as in a token68, would otherwise never end.
        return (text[..end].to_owned(), &text[end..]);
    };
    let mut value = String::new();
    let mut characters = inside.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '"' => return (value, &inside[at + 1..]),
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            c => value.push(c),
        }
    }
    (value, "")
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http::{HeaderValue, Method};

    use super::*;

    fn headers(fields: &[&str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for field in fields {
            map.append(WWW_AUTHENTICATE, HeaderValue::from_str(field).unwrap());
        }
        map
    }

    /// RFC 7616 §3.9.1.
    #[test]
    fn the_examples_of_the_standard() {
        let request = Request {
            method: Method::GET,
            uri: "http://www.example.org/dir/index.html".parse().unwrap(),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        };
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        for (algorithm, expected) in [
            ("MD5", "8ca523f5e9506fed4657c9700eebdbec"),
            ("SHA-256", "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1"),
        ] {
            let field = format!(
                "Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm={algorithm}, \
                 nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\""
            );
            let challenge = challenge(&headers(&[&field])).unwrap().unwrap();
            assert_eq!(challenge.answer("Mufasa", "Circle of Life", &request, cnonce).response, expected);
        }
    }

    #[test]
    fn the_strongest_of_several_challenges_is_answered() {
        let found = challenge(&headers(&[
            r#"Negotiate abc==, Basic realm="a, b", Digest realm="x\"y", nonce=1, algorithm=MD5"#,
            r#"Digest realm="z", nonce="2", algorithm=SHA-256-sess, qop="auth-int,auth""#,
        ]));
        let found = found.unwrap().unwrap();
        assert_eq!((found.realm.as_str(), found.session, found.quality), ("z", true, true));
        let only =
            challenge(&headers(&[r#"Basic realm="r", Digest realm="x\"y", nonce=1"#])).unwrap().unwrap();
        assert_eq!((only.realm.as_str(), only.nonce.as_str(), only.quality), ("x\"y", "1", false));
        assert_eq!(challenge(&headers(&["Basic", "=", "Bearer realm="])).unwrap(), None);
    }

    #[test]
    fn an_unknown_kind_is_named() {
        let error = challenge(&headers(&["Digest algorithm=SHA-512-256, nonce=1"])).unwrap_err();
        assert!(error.detail.contains("SHA-512-256"), "{}", error.detail);
        assert!(challenge(&headers(&["Digest nonce=1, qop=\"auth-int\""])).is_err());
    }
}
