//! Image references as people write them: `busybox`, `ghcr.io/acme/tool:2`, `127.0.0.1:5000/x@sha256:…`.

use std::fmt;

use super::digest::Digest;
use crate::egress::Host;

/// Bytes of a whole reference, at most.
const MAX_BYTES: usize = 512;
/// Bytes of a tag, at most (distribution specification).
const MAX_TAG_BYTES: usize = 128;
/// The registry of a reference that names none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that registry answers.
const DEFAULT_REGISTRY_HOST: &str = "registry-1.docker.io";

/// A reference that is well-formed and complete.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// `host` or `host:port`, as an operator would list it.
    pub registry: String,
    /// Path in the registry.
    pub repository: String,
    /// What of it.
    pub version: Version,
}

/// Which of a repository's images.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// Whatever the tag stands for now.
    Tag(String),
    /// This one for ever.
    Digest(Digest),
}

/// Why text is no reference.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no image reference: {why}; write it as `ghcr.io/acme/tool:1.2` or `ghcr.io/acme/tool@sha256:…`"
)]
pub struct ReferenceError {
    text: String,
    why: &'static str,
}

impl Reference {
    /// Reads a reference. A first part without dot or port is part of Docker Hub's repository; no tag means `latest`; beside
    /// a digest, a tag says nothing.
    pub fn parse(text: &str) -> Result<Self, ReferenceError> {
        Self::read(text).map_err(|why| ReferenceError { text: text.chars().take(MAX_BYTES).collect(), why })
    }

    fn read(text: &str) -> Result<Self, &'static str> {
        if text.is_empty() || text.len() > MAX_BYTES {
            return Err("it has 1 to 512 bytes");
        }
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (
                name,
                Some(Digest::parse(digest).ok_or("its digest is not `sha256:` and 64 lower-case digits")?),
            ),
            None => (text, None),
        };
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if first.contains(['.', ':']) || first == "localhost" => (first, rest),
            _ => (DEFAULT_REGISTRY, name),
        };
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        check_registry(registry)?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err("its tag is not made of letters, digits, `_`, `.` and `-`");
        }
        if !path.split('/').all(is_path_part) {
            return Err("its repository is not made of lower-case letters, digits and single separators");
        }
        let is_official = registry == DEFAULT_REGISTRY && !path.contains('/');
        Ok(Self {
            registry: registry.to_owned(),
            repository: if is_official { format!("library/{path}") } else { path.to_owned() },
            version: match digest {
                Some(digest) => Version::Digest(digest),
                None => Version::Tag(tag.unwrap_or("latest").to_owned()),
            },
        })
    }

    /// The same repository's image with this digest.
    pub fn pinned(&self, digest: Digest) -> Self {
        Self { version: Version::Digest(digest), ..self.clone() }
    }

    /// Host and port of the registry's API.
    pub(super) fn authority(&self) -> &str {
        if self.registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_HOST } else { &self.registry }
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.version {
            Version::Tag(tag) => write!(f, "{}/{}:{tag}", self.registry, self.repository),
            Version::Digest(digest) => write!(f, "{}/{}@{digest}", self.registry, self.repository),
        }
    }
}

fn check_registry(text: &str) -> Result<(), &'static str> {
    const WRONG: &str = "its registry is no `host` or `host:port`";
    // An IPv6 address holds colons itself.
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(WRONG)?)),
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        },
    };
    let port_is_right = port.is_none_or(|port| {
        port.bytes().all(|byte| byte.is_ascii_digit()) && port.parse::<u16>().is_ok_and(|port| port != 0)
    });
    if port_is_right && Host::parse(host).is_ok() { Ok(()) } else { Err(WRONG) }
}

fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=MAX_TAG_BYTES).contains(&text.len())
        && text.bytes().next().is_some_and(word)
        && text.bytes().all(|byte| word(byte) || matches!(byte, b'.' | b'-'))
}

/// Letters and digits with `.`, `_`, `__` or any number of `-` between them.
fn is_path_part(part: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let separators = part.split(|c: char| c.is_ascii() && plain(c as u8)).filter(|text| !text.is_empty());
    !part.is_empty()
        && part.bytes().next().is_some_and(plain)
        && part.bytes().last().is_some_and(plain)
        && separators
            .into_iter()
            .all(|text| matches!(text, "." | "_" | "__") || text.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_docker_hubs() {
        let shown = |text| Reference::parse(text).expect(text).to_string();
        let digest = Digest::of(b"x");
        for (text, full) in [
            ("busybox", "docker.io/library/busybox:latest"),
            ("acme/tool:1.2", "docker.io/acme/tool:1.2"),
            ("ghcr.io/acme/a-b__c.d:v1", "ghcr.io/acme/a-b__c.d:v1"),
            ("localhost/x", "localhost/x:latest"),
            ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
            ("[::1]:5000/x:y", "[::1]:5000/x:y"),
            (&format!("busybox:1@{digest}"), &format!("docker.io/library/busybox@{digest}")),
        ] {
            assert_eq!(shown(text), full);
            assert_eq!(shown(full), full, "a complete reference stays as it is");
        }
        assert_eq!(Reference::parse("busybox").expect("well-formed").authority(), "registry-1.docker.io");
    }

    #[test]
    fn what_could_be_something_else_is_refused() {
        for text in [
            "",
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:b:c/d",
            "a b",
            "a\n",
            "a?x=1",
            "a#b",
            "../a",
            "a/../b",
            "a/./b",
            "http://x.io/a",
            "x.io:0/a",
            "x.io:99999/a",
            "x.io:/a",
            "user@x.io/a",
            "u:p@x.io/a",
            "a@sha256:00",
            "a@sha512:00",
            "1.2.3/a",
            "0x7f.1/a",
            "a:.x",
            "a/b_-c",
            "[::1/a",
            "a%2fb",
            "ä",
            "x.io/ä",
        ] {
            assert!(Reference::parse(text).is_err(), "{text:?}");
        }
    }
}
