//! Registry credentials in the format of Docker's `config.json`: the static `auths`. Credential helpers are not run.

use std::collections::BTreeMap;
use std::path::Path;

use base64ct::{Base64, Encoding};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::error::ImageError;

/// Bytes of the file, at most.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// How Docker names its own registry in the file.
const DOCKER_HUB: &str = "https://index.docker.io/v1/";

/// `user:password` of each registry, base64. Not to be shown.
#[derive(Default)]
pub(super) struct Credentials(BTreeMap<String, Zeroizing<String>>);

#[derive(Deserialize)]
struct File {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
    #[serde(default, rename = "credsStore")]
    store: Option<String>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Auth {
    #[serde(default)]
    auth: Option<Zeroizing<String>>,
    #[serde(default)]
    username: Option<String>,
    #[serde(default)]
    password: Option<Zeroizing<String>>,
}

impl Credentials {
    /// Reads the file; the error says what to change.
    pub(super) fn read(path: &Path) -> Result<Self, ImageError> {
        let wrong = |why: String| {
            ImageError::Settings(format!(
                "the image credentials in `{}` cannot be used: {why}",
                path.display()
            ))
        };
        if std::fs::metadata(path).is_ok_and(|metadata| metadata.len() > MAX_FILE_BYTES) {
            return Err(wrong("the file has more than 1 MiB".to_owned()));
        }
        let text = std::fs::read(path).map(Zeroizing::new).map_err(|error| wrong(error.to_string()))?;
        // serde's message may quote what it found, which is secret here.
        let file: File = serde_json::from_slice(&text).map_err(|error| {
            wrong(format!("it is no Docker config.json (line {}, column {})", error.line(), error.column()))
        })?;
        if file.auths.values().all(|auth| auth.encoded().is_none())
            && (file.store.is_some() || !file.helpers.is_empty())
        {
            return Err(wrong(
                "it names credential helpers (`credsStore`, `credHelpers`), which are not supported; write `auths` with \
                 `docker login` in a folder without them"
                    .to_owned(),
            ));
        }
        let encoded = |(registry, auth): (&String, &Auth)| Some((normal(registry), auth.encoded()?));
        Ok(Self(file.auths.iter().filter_map(encoded).collect()))
    }

    /// The value for `Authorization: Basic`.
    pub(super) fn of(&self, registry: &str) -> Option<&str> {
        self.0.get(registry).map(|text| text.as_str())
    }
}

impl Auth {
    fn encoded(&self) -> Option<Zeroizing<String>> {
        match (&self.auth, &self.username, &self.password) {
            (Some(auth), _, _) if !auth.is_empty() => Some(auth.clone()),
            (_, Some(username), Some(password)) => {
                let plain = Zeroizing::new(format!("{username}:{}", password.as_str()));
                Some(Zeroizing::new(Base64::encode_string(plain.as_bytes())))
            }
            _ => None,
        }
    }
}

/// A registry as references name it.
fn normal(key: &str) -> String {
    if key == DOCKER_HUB || key == "index.docker.io" || key == "registry-1.docker.io" {
        return "docker.io".to_owned();
    }
    let host = key.trim_start_matches("https://").trim_start_matches("http://");
    host.split('/').next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Credentials, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("config.json");
        std::fs::write(&path, text).expect("written");
        Credentials::read(&path).map_err(|error| error.to_string())
    }

    #[test]
    fn each_registry_has_its_own_in_all_spellings() {
        let read = read(
            r#"{"auths":{"https://index.docker.io/v1/":{"auth":"YTpi"},"ghcr.io":{"username":"u","password":"p"},
                "https://r.io/v2/":{"auth":"eDp5"},"empty.io":{}},"credsStore":"desktop"}"#,
        )
        .expect("well-formed");
        assert_eq!(read.of("docker.io"), Some("YTpi"));
        assert_eq!(read.of("ghcr.io"), Some("dTpw"));
        assert_eq!(read.of("r.io"), Some("eDp5"));
        assert_eq!(read.of("empty.io"), None);
    }

    #[test]
    fn a_wrong_file_is_told_without_what_it_holds() {
        let wrong = |text| read(text).err().expect("refused");
        assert!(!wrong(r#"{"auths":{"r.io":{"auth":["c2VjcmV0"]}}}"#).contains("c2VjcmV0"));
        assert!(wrong(r#"{"credsStore":"desktop"}"#).contains("helpers"));
    }
}
