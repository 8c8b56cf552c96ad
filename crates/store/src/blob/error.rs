//! What can go wrong with a blob.

use std::error::Error;

use super::BlobId;
use crate::StoreError;

/// A failure of the blob store.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// No space is left.
    #[error("the blob store's disk is full: free some space")]
    Full,
    /// The content is larger than the caller allows.
    #[error("the content is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// There is no such blob.
    #[error("there is no blob {0}")]
    Missing(BlobId),
    /// The content is not what its name says.
    #[error("blob {0} is damaged: its content has another hash")]
    Damaged(BlobId),
    /// Reading or writing failed.
    #[error("failed to {action}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl BlobError {
    /// An error of the object store, said as what was tried; a full disk is told apart.
    pub(super) fn of(action: &'static str) -> impl FnOnce(object_store::Error) -> BlobError {
        move |error| match is_full(&error) {
            true => BlobError::Full,
            false => BlobError::Io { action, source: Box::new(error) },
        }
    }
}

fn is_full(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && matches!(io.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
        {
            return true;
        }
        next = error.source();
    }
    false
}

impl From<BlobError> for StoreError {
    fn from(error: BlobError) -> Self {
        match error {
            BlobError::Full => StoreError::Full,
            BlobError::Missing(_) | BlobError::Damaged(_) => {
                StoreError::Corrupt { detail: error.to_string() }
            }
            BlobError::TooLarge { .. } => StoreError::Invalid(error.to_string()),
            BlobError::Io { .. } => {
                StoreError::Io { action: "use the blob store".to_owned(), source: Box::new(error) }
            }
        }
    }
}
