//! `backends.toml` in the broker's folder: how the broker reaches stores outside of it, and what their keys are called. It holds
//! no secret, only where the broker's credentials are; a key that it does not know is an error.
//!
//! ```toml
//! [vault]
//! address = "https://vault.example:8200"
//! auth = { method = "approle", role-id = "3f…", secret-id-file = "/run/credentials/secret-id" }
//!
//! [[identity]]
//! reference = "vault:kv/sagewai/acme-prod"
//! naming = "upper-snake"
//! settings = ["REGION"]
//! keys = { "db url" = "DATABASE_URL", cert = { name = "CERT_DER", base64 = true } }
//! views = { reporting = ["DATABASE_URL", "REGION"] }
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::mapping::{MAX_NAMES, Mapping, Naming, Target};
use crate::disk::{self, DiskError};
use crate::reference::{IdentityPath, IdentityRef, KeyName, ReferenceError, Scheme, ViewName};

/// Name of the file in the broker's folder.
pub const FILE: &str = "backends.toml";
/// Longest file, bytes.
pub const MAX_FILE_BYTES: u64 = 4 * 1024 * 1024;

/// Why the file was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The disk refused.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not TOML of this form; the text shows the place.
    #[error("{FILE} is refused: {0}")]
    Malformed(String),
    /// A reference is none.
    #[error("{FILE}, identity `{reference}`: {why}")]
    Reference {
        /// As it was written.
        reference: String,
        /// Why.
        why: ReferenceError,
    },
    /// It contradicts itself.
    #[error("{FILE}, identity `{0}`: {1}")]
    Identity(String, String),
}

/// The stores and the mappings of their identities.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Vault or OpenBao.
    pub vault: Option<Vault>,
    /// AWS Secrets Manager.
    pub aws_sm: Option<AwsSm>,
    /// Files encrypted by SOPS.
    pub sops: Option<Sops>,
    /// 1Password Connect.
    pub onepassword: Option<OnePassword>,
    /// Bitwarden Secrets Manager.
    pub bitwarden: Option<Bitwarden>,
    /// Mappings, by scheme and path.
    pub identities: BTreeMap<IdentityRef, Mapping>,
}

/// `[vault]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Vault {
    /// URL; plain `http` on loopback alone.
    pub address: String,
    /// Namespace.
    pub namespace: Option<String>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// How the broker logs in.
    pub auth: VaultAuth,
    /// Mounts of secrets engines that make credentials on each read, such as `database`. Other mounts are KV version 2.
    #[serde(default)]
    pub dynamic_mounts: BTreeSet<String>,
    /// The token role by which the broker makes an orphan token for each grant that reads such a mount.
    pub token_role: Option<String>,
    /// Folders in KV mounts whose identities `sagewai identity list` shows, such as `kv/sagewai`.
    #[serde(default)]
    pub folders: Vec<IdentityPath>,
}

/// `vault.auth`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "method", deny_unknown_fields, rename_all = "kebab-case")]
pub enum VaultAuth {
    /// A token in a file, such as an agent writes it.
    #[serde(rename_all = "kebab-case")]
    Token {
        /// The file.
        token_file: PathBuf,
    },
    /// AppRole.
    #[serde(rename_all = "kebab-case")]
    Approle {
        /// The role's id; no secret.
        role_id: String,
        /// File with the secret id.
        secret_id_file: PathBuf,
        /// Where the method is mounted.
        mount: Option<String>,
    },
    /// A signed token of another party.
    #[serde(rename_all = "kebab-case")]
    Jwt {
        /// The role.
        role: String,
        /// File with the token.
        jwt_file: PathBuf,
        /// Where the method is mounted.
        mount: Option<String>,
    },
    /// The pod's service account.
    #[serde(rename_all = "kebab-case")]
    Kubernetes {
        /// The role.
        role: String,
        /// File with the service account's token; where Kubernetes puts it if absent.
        jwt_file: Option<PathBuf>,
        /// Where the method is mounted.
        mount: Option<String>,
    },
}

/// `[aws-sm]`. The credentials are a profile's of a file where one is named, else the environment's, else a web identity's.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AwsSm {
    /// Region, such as `eu-central-1`.
    pub region: String,
    /// URL of another endpoint, such as a VPC's; plain `http` on loopback alone.
    pub endpoint: Option<String>,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
    /// Shared credentials file.
    pub credentials_file: Option<PathBuf>,
    /// Profile in that file, `default` if absent.
    pub profile: Option<String>,
    /// Only secrets whose names begin so are listed.
    pub prefix: Option<String>,
}

/// `[sops]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Sops {
    /// The folder that paths begin in; nothing outside of it is read.
    pub folder: PathBuf,
    /// File with age identities.
    pub age_key_file: PathBuf,
}

/// `[1password]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct OnePassword {
    /// URL of the Connect server; plain `http` on loopback alone.
    pub address: String,
    /// File with the Connect token.
    pub token_file: PathBuf,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
}

/// `[bitwarden]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Bitwarden {
    /// URL of the identity service, `https://identity.bitwarden.com` if absent.
    pub identity_url: Option<String>,
    /// URL of the API, `https://api.bitwarden.com` if absent.
    pub api_url: Option<String>,
    /// File with the machine account's access token.
    pub access_token_file: PathBuf,
    /// Certificates (PEM) that are trusted instead of the system's.
    pub ca_file: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    vault: Option<Vault>,
    aws_sm: Option<AwsSm>,
    sops: Option<Sops>,
    #[serde(rename = "1password")]
    onepassword: Option<OnePassword>,
    bitwarden: Option<Bitwarden>,
    #[serde(default)]
    identity: Vec<Identity>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Identity {
    reference: String,
    #[serde(default)]
    naming: Naming,
    #[serde(default)]
    settings: BTreeSet<KeyName>,
    #[serde(default)]
    keys: BTreeMap<String, TargetText>,
    #[serde(default)]
    views: BTreeMap<ViewName, BTreeSet<KeyName>>,
}

struct TargetText(Target);

impl<'de> Deserialize<'de> for TargetText {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            name: KeyName,
            #[serde(default)]
            base64: bool,
        }
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Target;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a name such as \"DATABASE_URL\", or { name = \"CERT\", base64 = true }")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Target, E> {
                Ok(Target { name: text.parse().map_err(E::custom)?, base64: false })
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Target, A::Error> {
                let table = Table::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                Ok(Target { name: table.name, base64: table.base64 })
            }
        }
        deserializer.deserialize_any(Visitor).map(TargetText)
    }
}

impl Config {
    /// Reads `folder/backends.toml`; without one there are no stores.
    pub fn read(folder: &Path) -> Result<Self, ConfigError> {
        let bytes = match disk::read(&folder.join(FILE), MAX_FILE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.is_missing() => return Ok(Config::default()),
            Err(error) => return Err(error.into()),
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| ConfigError::Malformed("it is not UTF-8".into()))?;
        text.parse()
    }

    /// Whether there is `[store]` for a scheme.
    pub fn has(&self, scheme: Scheme) -> bool {
        match scheme {
            Scheme::Builtin => true,
            Scheme::Vault => self.vault.is_some(),
            Scheme::AwsSm => self.aws_sm.is_some(),
            Scheme::Sops => self.sops.is_some(),
            Scheme::OnePassword => self.onepassword.is_some(),
            Scheme::Bitwarden => self.bitwarden.is_some(),
        }
    }

    /// The mappings of a scheme's identities.
    pub fn mappings(&self, scheme: Scheme) -> BTreeMap<IdentityPath, Mapping> {
        let ours = self.identities.iter().filter(|(identity, _)| identity.scheme() == scheme);
        ours.map(|(identity, mapping)| (identity.path().clone(), mapping.clone())).collect()
    }

    fn check(&self, identity: &IdentityRef, mapping: &Mapping) -> Result<(), ConfigError> {
        let wrong = |why: String| Err(ConfigError::Identity(identity.to_string(), why));
        if !self.has(identity.scheme()) {
            return wrong(format!("there is no [{}] in this file", identity.scheme()));
        }
        let most = mapping.views.values().map(BTreeSet::len).chain([
            mapping.keys.len(),
            mapping.settings.len(),
            mapping.views.len(),
        ]);
        if most.max().is_some_and(|most| most > MAX_NAMES) {
            return wrong("at most 1024 keys, settings, views, and keys of a view".into());
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = mapping.keys.values().find(|target| !names.insert(&target.name)) {
            return wrong(format!("two keys become {}", twice.name));
        }
        for view in mapping.views.keys() {
            let text = format!("{identity}/{view}");
            if self.identities.keys().any(|other| other.to_string() == text) {
                return wrong(format!("its view `{view}` and the identity `{text}` have the same reference"));
            }
        }
        Ok(())
    }
}

impl std::str::FromStr for Config {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let file: File = toml::from_str(text).map_err(|error| ConfigError::Malformed(error.to_string()))?;
        let File { vault, aws_sm, sops, onepassword, bitwarden, identity } = file;
        let mut identities = BTreeMap::new();
        for Identity { reference, naming, settings, keys, views } in identity {
            let parsed: Result<IdentityRef, _> = reference.parse();
            let parsed =
                parsed.map_err(|why| ConfigError::Reference { reference: reference.clone(), why })?;
            if parsed.scheme() == Scheme::Builtin {
                let why = "identities of the builtin file have their names and views there".to_owned();
                return Err(ConfigError::Identity(reference, why));
            }
            let keys = keys.into_iter().map(|(stored, TargetText(target))| (stored, target)).collect();
            if identities.insert(parsed, Mapping { naming, keys, settings, views }).is_some() {
                return Err(ConfigError::Identity(reference, "it is there twice".into()));
            }
        }
        let config = Config { vault, aws_sm, sops, onepassword, bitwarden, identities };
        for (identity, mapping) in &config.identities {
            config.check(identity, mapping)?;
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VAULT: &str =
        "[vault]\naddress = \"https://v:8200\"\nauth = { method = \"token\", token-file = \"/t\" }\n";

    #[test]
    fn reads_the_documented_form() {
        let config: Config = r#"
            [vault]
            address = "https://vault.example:8200"
            auth = { method = "approle", role-id = "3f", secret-id-file = "/run/credentials/secret-id" }

            [[identity]]
            reference = "vault:kv/sagewai/acme-prod"
            naming = "upper-snake"
            settings = ["REGION"]
            keys = { "db url" = "DATABASE_URL", cert = { name = "CERT_DER", base64 = true } }
            views = { reporting = ["DATABASE_URL", "REGION"] }
        "#
        .parse()
        .unwrap();
        let mappings = config.mappings(Scheme::Vault);
        let mapping = &mappings[&"kv/sagewai/acme-prod".parse().unwrap()];
        assert!(mapping.keys["cert"].base64 && !mapping.keys["db url"].base64);
        assert_eq!(mapping.views.len(), 1);
        assert!(config.mappings(Scheme::Sops).is_empty());
    }

    #[test]
    fn refuses_what_it_does_not_know_and_what_contradicts_itself() {
        let identity = |text: &str| format!("{VAULT}[[identity]]\nreference = {text}\n");
        for (text, why) in [
            ("[vualt]\n".to_owned(), "vualt"),
            (VAULT.replace("token-file", "token"), "token"),
            (VAULT.replace("\"token\"", "\"password\""), "password"),
            (identity("\"sops:a.yaml\""), "no [sops]"),
            (identity("\"acme\""), "builtin file"),
            (identity("\"valt:x\""), "valt"),
            (identity("\"vault:kv/a\"\nkeys = { x = \"not a name\" }"), "not a name"),
            (identity("\"vault:kv/a\"\nkeys = { x = \"A\", y = \"A\" }"), "two keys become A"),
            (
                identity("\"vault:kv/a\"\nviews = { b = [] }\n[[identity]]\nreference = \"vault:kv/a/b\""),
                "same reference",
            ),
            (identity("\"vault:kv/a\"\n[[identity]]\nreference = \"vault:kv/a\""), "twice"),
        ] {
            let error = text.parse::<Config>().err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(why) && error.contains(FILE), "{text}\n{error}");
        }
    }
}
