//! What can go wrong with an image, each with its remedy in the words of who reads a run's log.

use std::io;

use super::reference::ReferenceError;
use crate::SandboxError;

/// Why an image is not here.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// The text is no reference.
    #[error(transparent)]
    Reference(#[from] ReferenceError),
    /// The registry has no such image.
    #[error("image `{0}` is not in its registry; check repository and tag, and that they were pushed")]
    NotFound(String),
    /// The registry wants other credentials, or any.
    #[error(
        "the registry refuses access to image `{0}`; if it exists, put credentials for `{1}` into the file that the setting `images.registries` of the worker names (in the form of Docker's config.json)"
    )]
    Unauthorized(String, String),
    /// What came is not what was asked for.
    #[error(
        "{what} of image `{image}` does not have its digest: expected {expected}, got {found}; the registry or something before it is damaged, push the image anew"
    )]
    Digest {
        /// The image.
        image: String,
        /// Which part of it.
        what: &'static str,
        /// As named.
        expected: String,
        /// As received.
        found: String,
    },
    /// Built for other machines.
    #[error(
        "image `{image}` is not built for {wanted}; it is for {offered}: build it for {wanted} too, or send the step to another worker by `requires`"
    )]
    Platform {
        /// The image.
        image: String,
        /// This machine.
        wanted: String,
        /// What there is.
        offered: String,
    },
    /// The registry does not answer, or not as a registry does.
    #[error("registry `{registry}` cannot be reached: {why}; check its name and the worker's network")]
    Unreachable {
        /// As in the reference.
        registry: String,
        /// What happened.
        why: String,
    },
    /// A private address that the operator has not listed.
    #[error(
        "registry `{registry}` is not allowed: {why}; the worker's operator can list it in the setting `images.insecure` (plain HTTP) or `images.allow-private`"
    )]
    NotAllowed {
        /// As in the reference.
        registry: String,
        /// What was refused.
        why: String,
    },
    /// The image is not one that can be unpacked here.
    #[error("image `{image}` cannot be used: {why}")]
    Unusable {
        /// The image.
        image: String,
        /// What is wrong with it.
        why: String,
    },
    /// It is not here and may not be pulled.
    #[error(
        "image `{0}` is not in the worker's cache, and the setting `images.pull` is `never`; pull it there first, or allow pulls"
    )]
    Absent(String),
    /// The cache or the disk is full.
    #[error(
        "there is no space for image `{image}`: {why}; free disk space, or raise the setting `images.max-mib` of the worker"
    )]
    NoSpace {
        /// The image.
        image: String,
        /// What is full.
        why: String,
    },
    /// The cache cannot be read or written.
    #[error("the image cache at `{path}` does not work: {source}")]
    Cache {
        /// Where.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// The operator's settings are wrong.
    #[error("{0}")]
    Settings(String),
}

impl ImageError {
    /// Whether another try may help.
    pub fn is_temporary(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NoSpace { .. } | Self::Cache { .. })
    }

    /// As an error of a sandbox backend.
    pub fn of_backend(self) -> SandboxError {
        if self.is_temporary() {
            SandboxError::Create(self.to_string())
        } else {
            SandboxError::Image(self.to_string())
        }
    }
}
