//! Writing and reading blobs. A blob is written under a passing name and renamed when its hash is known, so that a name
//! never stands for half a content; it is hashed again when it is read.

use std::collections::HashMap;
use std::path::Path as FilePath;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, WriteMultipart};
use sha2::{Digest, Sha256};
use tokio::sync::RwLock;
use uuid::Uuid;

use super::{BlobError, BlobId};

/// Folder of contents that are being written.
pub(super) const INCOMING: &str = "incoming";
/// Folder of complete contents.
pub(super) const BLOBS: &str = "sha256";
/// Bytes of one part of a write; so much of a blob is in memory at once, twice.
const PART_BYTES: usize = 5 * 1024 * 1024;
/// Parts of one blob that are written at once.
const PARTS_IN_FLIGHT: usize = 1;

/// A store of blobs. A clone is another handle on the same store.
#[derive(Clone)]
pub struct Blobs {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Held for reading while a blob gets its name, for writing while one is deleted.
    pub(super) naming: Arc<RwLock<()>>,
    /// Blobs that were found for someone who is about to use them, and when.
    pub(super) claims: Arc<Mutex<HashMap<BlobId, SystemTime>>>,
}

impl Blobs {
    /// Blobs as files of a folder, which is made if it is not there. What was being written when the last process ended is
    /// deleted: the folder belongs to one process.
    pub fn folder(folder: &FilePath) -> Result<Self, BlobError> {
        let io = |action| move |e: std::io::Error| BlobError::Io { action, source: Box::new(e) };
        let incoming = folder.join(INCOMING);
        if incoming.exists() {
            std::fs::remove_dir_all(&incoming).map_err(io("clear the folder of incoming blobs"))?;
        }
        std::fs::create_dir_all(&incoming).map_err(io("make the folder of blobs"))?;
        let files =
            LocalFileSystem::new_with_prefix(folder).map_err(BlobError::of("open the folder of blobs"))?;
        Ok(Self::over(Arc::new(files.with_fsync(true))))
    }

    /// Blobs in memory, for tests.
    pub fn memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    fn over(objects: Arc<dyn ObjectStore>) -> Self {
        Blobs { objects, naming: Arc::default(), claims: Arc::default() }
    }

    /// Stores a content durably.
    pub async fn put(&self, content: Bytes) -> Result<BlobId, BlobError> {
        let mut writer = self.writer(u64::MAX).await?;
        writer.write(content).await?;
        writer.finish().await.map(|(blob, _)| blob)
    }

    /// Begins to store a content of at most `limit_bytes`.
    pub async fn writer(&self, limit_bytes: u64) -> Result<BlobWriter, BlobError> {
        let passing = Path::from_iter([INCOMING.to_owned(), Uuid::now_v7().to_string()]);
        let upload = self.objects.put_multipart(&passing).await.map_err(BlobError::of("begin a blob"))?;
        let upload = WriteMultipart::new_with_chunk_size(upload, PART_BYTES);
        Ok(BlobWriter { blobs: self.clone(), passing, upload, hash: Sha256::new(), size: 0, limit_bytes })
    }

    /// Whether there is such a blob.
    pub async fn contains(&self, blob: BlobId) -> Result<bool, BlobError> {
        match self.objects.head(&path_of(blob)).await {
            Ok(_) => Ok(true),
            Err(object_store::Error::NotFound { .. }) => Ok(false),
            Err(error) => Err(BlobError::of("look for a blob")(error)),
        }
    }

    /// Bytes of a blob that the caller is about to use; `None` if there is none. The sweep leaves it as long as one that was
    /// just written.
    pub async fn claim(&self, blob: BlobId) -> Result<Option<u64>, BlobError> {
        let _naming = self.naming.read().await;
        match self.objects.head(&path_of(blob)).await {
            Ok(found) => {
                self.claims().insert(blob, SystemTime::now());
                Ok(Some(found.size))
            }
            Err(object_store::Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(BlobError::of("look for a blob")(error)),
        }
    }

    pub(super) fn claims(&self) -> MutexGuard<'_, HashMap<BlobId, SystemTime>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read a blob.
    pub async fn reader(&self, blob: BlobId) -> Result<BlobReader, BlobError> {
        match self.objects.get(&path_of(blob)).await {
            Ok(found) => Ok(BlobReader {
                blob,
                size: found.meta.size,
                content: found.into_stream(),
                hash: Some(Sha256::new()),
            }),
            Err(object_store::Error::NotFound { .. }) => Err(BlobError::Missing(blob)),
            Err(error) => Err(BlobError::of("open a blob")(error)),
        }
    }

    /// Reads a whole blob of at most `limit_bytes`.
    pub async fn read(&self, blob: BlobId, limit_bytes: u64) -> Result<Bytes, BlobError> {
        let mut reader = self.reader(blob).await?;
        if reader.size() > limit_bytes {
            return Err(BlobError::TooLarge { limit_bytes });
        }
        let mut content = BytesMut::with_capacity(usize::try_from(reader.size()).unwrap_or_default());
        while let Some(part) = reader.next().await? {
            content.extend_from_slice(&part);
        }
        Ok(content.freeze())
    }
}

/// Files are spread over folders by the first byte of their names.
pub(super) fn path_of(blob: BlobId) -> Path {
    let name = blob.to_string();
    Path::from_iter([BLOBS, &name[..2], &name])
}

/// A content that is being stored; dropped before [`BlobWriter::finish`], it leaves nothing behind.
pub struct BlobWriter {
    blobs: Blobs,
    passing: Path,
    upload: WriteMultipart,
    hash: Sha256,
    size: u64,
    limit_bytes: u64,
}

impl BlobWriter {
    /// Adds to the content.
    pub async fn write(&mut self, part: Bytes) -> Result<(), BlobError> {
        self.size = self.size.saturating_add(part.len() as u64);
        if self.size > self.limit_bytes {
            return Err(BlobError::TooLarge { limit_bytes: self.limit_bytes });
        }
        self.hash.update(&part);
        self.upload.wait_for_capacity(PARTS_IN_FLIGHT).await.map_err(BlobError::of("write a blob"))?;
        self.upload.put(part);
        Ok(())
    }

    /// Makes the content durable and gives its name and size. A content that was there is written again, so that the
    /// sweep sees it as young.
    pub async fn finish(self) -> Result<(BlobId, u64), BlobError> {
        self.upload.finish().await.map_err(BlobError::of("write a blob"))?;
        let blob = BlobId(self.hash.finalize().into());
        let _naming = self.blobs.naming.read().await;
        let renamed = self.blobs.objects.rename(&self.passing, &path_of(blob)).await;
        renamed.map_err(BlobError::of("name a blob"))?;
        Ok((blob, self.size))
    }
}

/// A blob that is being read.
pub struct BlobReader {
    blob: BlobId,
    size: u64,
    content: BoxStream<'static, object_store::Result<Bytes>>,
    hash: Option<Sha256>,
}

impl BlobReader {
    /// Bytes of the blob.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next part; `None` at the end, once the whole content was found to be what its name says. Until then, what was
    /// read may be wrong.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        match self.content.next().await {
            Some(Ok(part)) => {
                if let Some(hash) = &mut self.hash {
                    hash.update(&part);
                }
                Ok(Some(part))
            }
            Some(Err(error)) => Err(BlobError::of("read a blob")(error)),
            None => match self.hash.take().map(Digest::finalize) {
                Some(hash) if hash[..] != self.blob.0 => Err(BlobError::Damaged(self.blob)),
                _ => Ok(None),
            },
        }
    }
}
