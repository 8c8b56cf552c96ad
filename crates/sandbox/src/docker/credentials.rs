//! Credentials of registries from a file in the form of Docker's config.json. They go to the daemon with a pull, and
//! never into a container.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use base64ct::{Base64, Encoding};
use bollard::auth::DockerCredentials;
use serde::Deserialize;

use super::trouble::Trouble;

/// Bytes of the file, at most.
const MAX_FILE_BYTES: u64 = 256 << 10;
/// What Docker's own registry is called in the file.
const HUB: &str = "https://index.docker.io/v1/";

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: HashMap<String, Entry>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
}

/// The credentials for the registry of an image; `None` where the file has none for it.
pub(super) fn for_image(file: &Path, image: &str) -> Result<Option<DockerCredentials>, Trouble> {
    let wrong = |why: String| Trouble::Configuration(format!("{} cannot be used: {why}", file.display()));
    let metadata = std::fs::metadata(file).map_err(|error| wrong(error.to_string()))?;
    if metadata.permissions().mode() & 0o077 != 0 {
        return Err(wrong(format!("others may read it; chmod 600 {}", file.display())));
    }
    if metadata.len() > MAX_FILE_BYTES {
        return Err(wrong(format!("it is longer than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read(file).map_err(|error| wrong(error.to_string()))?;
    // The parser's message could quote the file.
    let read: File = serde_json::from_slice(&text)
        .map_err(|error| wrong(format!("line {} is not as in Docker's config.json", error.line())))?;
    let registry = registry(image);
    let names = [registry.to_owned(), format!("https://{registry}"), format!("http://{registry}")];
    let entry = read.auths.into_iter().find(|(name, _)| {
        names.contains(name) || (registry == "docker.io" && (name == HUB || name == "index.docker.io"))
    });
    let Some((address, entry)) = entry else { return Ok(None) };
    credentials(address, entry)
        .map(Some)
        .ok_or_else(|| wrong(format!("its entry for {registry} has no credentials")))
}

fn credentials(address: String, entry: Entry) -> Option<DockerCredentials> {
    let decoded = entry.auth.as_deref().filter(|auth| !auth.is_empty()).and_then(|auth| {
        let text = String::from_utf8(Base64::decode_vec(auth.trim()).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some((name.to_owned(), password.trim_end_matches('\0').to_owned()))
    });
    let (username, password) = match decoded {
        Some((name, password)) => (Some(name), Some(password)),
        None => (entry.username, entry.password),
    };
    if username.is_none() && entry.identitytoken.is_none() {
        return None;
    }
    Some(DockerCredentials {
        username,
        password,
        identitytoken: entry.identitytoken,
        serveraddress: Some(address),
        ..DockerCredentials::default()
    })
}

/// The registry of an image: the part before the first slash, where it looks like a host.
pub(super) fn registry(image: &str) -> &str {
    match image.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => host,
        _ => "docker.io",
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn an_image_finds_the_credentials_of_its_registry() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        let text = r#"{"auths": {"https://index.docker.io/v1/": {"auth": "YW5uOnMzY3JldA=="},
            "registry.acme.example:5000": {"username": "bob", "password": "p"}, "empty.example": {}}}"#;
        file.write_all(text.as_bytes()).expect("written");
        let find = |image: &str| for_image(file.path(), image);
        let of = |image: &str| {
            find(image).expect("readable").map(|found| (found.username.unwrap(), found.password.unwrap()))
        };
        assert_eq!(of("python:3-slim"), Some(("ann".to_owned(), "s3cret".to_owned())));
        assert_eq!(of("docker.io/library/python"), Some(("ann".to_owned(), "s3cret".to_owned())));
        assert_eq!(of("registry.acme.example:5000/a/b:1"), Some(("bob".to_owned(), "p".to_owned())));
        assert_eq!(of("quay.io/a/b"), None);
        assert!(find("empty.example/a").is_err());
    }

    #[test]
    fn a_file_that_others_may_read_is_refused() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o644)).expect("set");
        let error = for_image(file.path(), "a").expect_err("refused");
        assert!(matches!(&error, Trouble::Configuration(why) if why.contains("chmod 600")), "{error:?}");
    }
}
