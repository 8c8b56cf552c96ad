//! What an operator decides about images.

use std::path::PathBuf;

/// Bytes of unpacked layers that are kept, if the operator says nothing.
const DEFAULT_CACHE_BYTES: u64 = 20 << 30;

/// Where images come from and where they are kept.
#[derive(Clone, Debug)]
pub struct ImageSettings {
    /// Folder of the cache; made if it is not there. Several workers of one user may share it.
    pub cache: PathBuf,
    /// Bytes of unpacked layers that are kept; what no sandbox uses goes first, the longest unused before others.
    pub max_cache_bytes: u64,
    /// When a registry is asked.
    pub pull: PullPolicy,
    /// Registries, as `host:port`, that are spoken to in plain HTTP and may have private addresses.
    pub insecure: Vec<String>,
    /// Private destinations that may be dialled, as in [`crate::egress::OperatorPolicy::parse`].
    pub allow_private: Vec<String>,
    /// A file in the format of Docker's `config.json`, whose `auths` are used.
    pub credentials: Option<PathBuf>,
}

impl ImageSettings {
    /// The defaults over a cache.
    pub fn new(cache: PathBuf) -> Self {
        Self {
            cache,
            max_cache_bytes: DEFAULT_CACHE_BYTES,
            pull: PullPolicy::default(),
            insecure: Vec::new(),
            allow_private: Vec::new(),
            credentials: None,
        }
    }
}

/// When a registry is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PullPolicy {
    /// What a tag stands for, each time; layers that are here are not sent again.
    Always,
    /// For what is not here.
    #[default]
    IfNotPresent,
    /// Not at all.
    Never,
}

impl PullPolicy {
    /// Reads `always`, `if-not-present` or `never`.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "always" => Some(Self::Always),
            "if-not-present" => Some(Self::IfNotPresent),
            "never" => Some(Self::Never),
            _ => None,
        }
    }
}
