//! Deleting blobs that nothing uses: values of turns that were never committed, artifacts of attempts that were lost.

use std::time::{Duration, SystemTime};

use futures_util::StreamExt;
use object_store::ObjectStoreExt;
use object_store::path::Path;

use super::blobs::{BLOBS, Blobs, path_of};
use super::{BlobError, BlobId};
use crate::{Store, StoreError};

/// Blobs that the store is asked about at once.
const ASK_BLOBS: usize = 500;

impl Blobs {
    /// Deletes blobs that no run uses and that were last written more than `age` before `now`; answers how many. `age` must be
    /// longer than any turn or step takes from writing a blob to committing its use.
    pub async fn sweep(
        &self,
        store: &dyn Store,
        now: SystemTime,
        age: Duration,
    ) -> Result<usize, StoreError> {
        let Some(before) = now.checked_sub(age) else { return Ok(0) };
        self.claims().retain(|_, claimed| *claimed >= before);
        let mut deleted = 0;
        let mut old = Vec::new();
        let folder = Path::from(BLOBS);
        let mut listing = self.objects.list(Some(&folder));
        while let Some(found) = listing.next().await {
            let found = found.map_err(BlobError::of("list blobs"))?;
            let blob = found.location.filename().and_then(|name| name.parse::<BlobId>().ok());
            if let Some(blob) = blob
                && SystemTime::from(found.last_modified) < before
            {
                old.push(blob);
            }
            if old.len() == ASK_BLOBS {
                deleted += self.delete_unused(store, std::mem::take(&mut old), before).await?;
            }
        }
        Ok(deleted + self.delete_unused(store, old, before).await?)
    }

    async fn delete_unused(
        &self,
        store: &dyn Store,
        blobs: Vec<BlobId>,
        before: SystemTime,
    ) -> Result<usize, StoreError> {
        let mut deleted = 0;
        for blob in store.unused_blobs(blobs).await? {
            // It may have been written again since it was listed: then somebody is about to use it.
            let _naming = self.naming.write().await;
            let path = path_of(blob);
            let found = self.objects.head(&path).await.map_err(BlobError::of("look at a blob"))?;
            if SystemTime::from(found.last_modified) < before && !self.claims().contains_key(&blob) {
                self.objects.delete(&path).await.map_err(BlobError::of("delete a blob"))?;
                deleted += 1;
            }
        }
        Ok(deleted)
    }
}
