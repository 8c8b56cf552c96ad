//! Blobs of workers: artifacts and large values, by the SHA-256 of their content.

use std::pin::Pin;

use bytes::Bytes;
use futures_util::Stream;
use protocol::worker_api::{BlobChunk, PutBlobResponse};
use store::blob::{BlobError, BlobId, Blobs};
use tonic::{Status, Streaming};

/// Bytes of one blob.
const MAX_BLOB_BYTES: u64 = 4 << 30;
/// Bytes of a chunk that is sent.
const CHUNK_BYTES: usize = 256 << 10;

/// Parts of a blob.
pub(crate) type Chunks = Pin<Box<dyn Stream<Item = Result<BlobChunk, Status>> + Send>>;

/// Stores a blob durably.
pub(crate) async fn put(blobs: &Blobs, mut chunks: Streaming<BlobChunk>) -> Result<PutBlobResponse, Status> {
    let mut writer = blobs.writer(MAX_BLOB_BYTES).await.map_err(status)?;
    while let Some(chunk) = chunks.message().await? {
        writer.write(Bytes::from(chunk.data)).await.map_err(status)?;
    }
    let (blob, size) = writer.finish().await.map_err(status)?;
    Ok(PutBlobResponse { sha256: blob.to_string(), size })
}

/// Reads a blob.
pub(crate) async fn read(blobs: &Blobs, sha256: &str) -> Result<Chunks, Status> {
    let blob: BlobId = sha256
        .parse()
        .map_err(|_| Status::invalid_argument("`sha256` is 64 lower-case hexadecimal digits"))?;
    let reader = blobs.reader(blob).await.map_err(status)?;
    let parts = futures_util::stream::unfold((reader, Bytes::new()), |(mut reader, mut rest)| async move {
        if rest.is_empty() {
            rest = match reader.next().await {
                Ok(Some(part)) => part,
                Ok(None) => return None,
                Err(error) => return Some((Err(status(error)), (reader, Bytes::new()))),
            };
        }
        let data = rest.split_to(rest.len().min(CHUNK_BYTES)).to_vec();
        Some((Ok(BlobChunk { data }), (reader, rest)))
    });
    Ok(Box::pin(parts))
}

fn status(error: BlobError) -> Status {
    match &error {
        BlobError::Full => Status::resource_exhausted(error.to_string()),
        BlobError::TooLarge { .. } => Status::out_of_range(error.to_string()),
        BlobError::Missing(_) => Status::not_found(error.to_string()),
        BlobError::Damaged(_) => Status::data_loss(error.to_string()),
        BlobError::Io { .. } => Status::unavailable(error.to_string()),
    }
}
