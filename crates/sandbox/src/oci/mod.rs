//! OCI images without a daemon: pulled from a registry, checked, unpacked layer by layer into a cache that sandboxes share
//! read-only.
//!
//! Layers are unpacked once each and stacked by overlayfs, rather than once per image: images of one base share it on the
//! disk and in the page cache, and a new version of an image costs what changed.

mod cache;
mod challenge;
mod connect;
mod credentials;
mod digest;
mod error;
mod images;
mod layer;
mod limits;
#[cfg(feature = "suites")]
pub mod made;
mod manifest;
mod reference;
mod registry;
mod settings;
mod stream;
mod tar;
mod tree;
mod zstd;

pub use cache::HeldLayer;
pub use digest::Digest;
pub use error::ImageError;
pub use images::Images;
pub use reference::{Reference, ReferenceError, Version};
pub use settings::{ImageSettings, PullPolicy};
