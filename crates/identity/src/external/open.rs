//! The stores of a configuration, opened: addresses and files are checked, nothing is asked yet.

use std::sync::Arc;

use super::External;
use super::config::Config;
use super::store::Store;
use crate::backend::IdentityBackend;
use crate::reference::Scheme;

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// This build does not have it.
    #[error("this build has no identity backend for [{0}] of backends.toml: build it with the feature `{0}`")]
    NotBuilt(Scheme),
    /// Its configuration is refused.
    #[error("[{store}] of backends.toml is refused: {why}")]
    Refused {
        /// Which.
        store: Scheme,
        /// Why, with the remedy.
        why: String,
    },
}

/// Opens every store of a configuration.
pub fn open(config: &Config) -> Result<Vec<Arc<dyn IdentityBackend>>, OpenError> {
    let mut backends: Vec<Arc<dyn IdentityBackend>> = Vec::new();
    for scheme in Scheme::ALL.into_iter().filter(|scheme| *scheme != Scheme::Builtin && config.has(*scheme)) {
        let store = open_store(config, scheme)?;
        backends.push(Arc::new(External::new(store, config.mappings(scheme))));
    }
    Ok(backends)
}

fn open_store(config: &Config, scheme: Scheme) -> Result<Box<dyn Store>, OpenError> {
    match scheme {
        #[cfg(feature = "vault")]
        Scheme::Vault if let Some(config) = &config.vault => Ok(Box::new(crate::vault::Vault::open(config)?)),
        #[cfg(feature = "aws-sm")]
        Scheme::AwsSm if let Some(config) = &config.aws_sm => {
            Ok(Box::new(crate::aws_sm::AwsSm::open(config)?))
        }
        #[cfg(feature = "sops")]
        Scheme::Sops if let Some(config) = &config.sops => Ok(Box::new(crate::sops::Sops::open(config)?)),
        #[cfg(feature = "1password")]
        Scheme::OnePassword if let Some(config) = &config.onepassword => {
            Ok(Box::new(crate::onepassword::OnePassword::open(config)?))
        }
        #[cfg(feature = "bitwarden")]
        Scheme::Bitwarden if let Some(config) = &config.bitwarden => {
            Ok(Box::new(crate::bitwarden::Bitwarden::open(config)?))
        }
        _ => Err(OpenError::NotBuilt(scheme)),
    }
}

/// An error and its causes, for the operator.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
