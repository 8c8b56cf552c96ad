//! The blob store: large values, artifacts and log chunks, by the SHA-256 of their content.

mod blob_id;
mod blobs;
mod error;
mod sweep;

pub use blob_id::BlobId;
pub use blobs::{BlobReader, BlobWriter, Blobs};
pub use error::BlobError;
