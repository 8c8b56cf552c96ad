//! Images on this machine: resolved once, pulled once, held while a sandbox uses them.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::cache::{self, Cache, HeldLayer, Record, Unkept};
use super::digest::Digest;
use super::error::ImageError;
use super::layer::{self, Expected, LayerError};
use super::limits::{LAYER_ATTEMPTS, LAYERS_AT_ONCE, LayerLimits, MAX_CONFIG_BYTES, PROGRESS};
use super::manifest::{self, Blob, Document, Manifest, Unfit};
use super::reference::{Reference, Version};
use super::registry::{Registry, mismatch};
use super::settings::{ImageSettings, PullPolicy};
use super::stream::{Feed, channel};
use crate::{Image, ImageConfig};

/// Images that are remembered without a look at the disk; then all are forgotten.
const MAX_KNOWN: usize = 256;
/// Indexes within indexes that are followed.
const MAX_INDEXES: usize = 2;

/// Gets sentences for a step's log.
pub(crate) type Tell<'a> = &'a (dyn Fn(String) + Send + Sync);

/// The images of one worker.
pub struct Images {
    settings: ImageSettings,
    cache: Cache,
    registry: Registry,
    known: Mutex<HashMap<Reference, Arc<Known>>>,
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

/// What an image is made of; it never changes, as the reference has a digest.
struct Known {
    pinned: Reference,
    config: ImageConfig,
    /// From the lowest.
    layers: Vec<(Blob, Digest)>,
}

impl Images {
    /// Makes the folders that sandboxes see, so that they can be bound before anything is pulled; returns the folder of layers.
    pub fn make_folders(cache: &Path) -> io::Result<std::path::PathBuf> {
        cache::make_folders(cache)?;
        Ok(cache::layers_folder(cache))
    }

    /// Opens the cache and reads the credentials.
    pub fn open(settings: ImageSettings) -> Result<Arc<Self>, ImageError> {
        let registry = Registry::new(&settings)?;
        let cache = Cache::open(&settings.cache, settings.max_cache_bytes)
            .map_err(|error| cache_error(&settings.cache, error))?;
        Ok(Arc::new(Self { settings, cache, registry, known: Mutex::default(), flights: Mutex::default() }))
    }

    /// Brings an image here as the pull policy says.
    pub async fn pull(&self, image: &str, tell: Tell<'_>) -> Result<Image, ImageError> {
        let reference = Reference::parse(image)?;
        let (known, _) = self.bring(&reference, tell).await?;
        Ok(Image { pinned: known.pinned.to_string(), config: known.config.clone() })
    }

    /// The layers of an image, the lowest first, each once. What is not here any more is pulled.
    pub async fn layers(&self, image: &str) -> Result<Vec<Arc<HeldLayer>>, ImageError> {
        let reference = Reference::parse(image)?;
        Ok(self.bring(&reference, &|_| ()).await?.1)
    }

    async fn bring(
        &self,
        reference: &Reference,
        tell: Tell<'_>,
    ) -> Result<(Arc<Known>, Vec<Arc<HeldLayer>>), ImageError> {
        if let Some(known) = self.recall(reference)
            && let Some(held) = self.hold_all(&known)?
        {
            return Ok((known, held));
        }
        let flight = self.flight(&reference.to_string());
        let _alone = match flight.try_lock() {
            Ok(alone) => alone,
            Err(_) => {
                tell(format!("waiting for another step's pull of {reference}"));
                flight.lock().await
            }
        };
        let known = self.resolve(reference, tell).await?;
        if let Some(held) = self.hold_all(&known)? {
            return Ok((known, held));
        }
        if self.settings.pull == PullPolicy::Never {
            return Err(ImageError::Absent(reference.to_string()));
        }
        let held = self.pull_layers(reference, &known, tell).await?;
        Ok((known, held))
    }

    /// What is known of an image without asking its registry.
    fn recall(&self, reference: &Reference) -> Option<Arc<Known>> {
        let pinned = match &reference.version {
            Version::Digest(_) => reference.clone(),
            Version::Tag(_) if self.settings.pull == PullPolicy::Always => return None,
            Version::Tag(_) => {
                let record = self.cache.read(Record::Tag, Digest::of(reference.to_string().as_bytes()))?;
                reference.pinned(Digest::parse(std::str::from_utf8(&record).ok()?)?)
            }
        };
        if let Some(known) = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&pinned) {
            return Some(Arc::clone(known));
        }
        let Version::Digest(mut digest) = pinned.version else { return None };
        // The disk is not trusted more than the network: everything is checked by its digest again.
        for _ in 0..=MAX_INDEXES {
            let bytes =
                self.cache.read(Record::Manifest, digest).filter(|bytes| Digest::of(bytes) == digest)?;
            match manifest::read_document(&bytes).ok()? {
                Document::Index(blob) => digest = blob.digest,
                Document::Manifest(found) => {
                    let bytes = self.cache.read(Record::Config, found.config.digest)?;
                    let is_right = Digest::of(&bytes) == found.config.digest;
                    let config =
                        manifest::read_config(&bytes, found.layers.len()).ok().filter(|_| is_right)?;
                    return Some(self.remember(&pinned, found, config));
                }
            }
        }
        None
    }

    fn remember(&self, pinned: &Reference, found: Manifest, config: manifest::Config) -> Arc<Known> {
        let layers = found.layers.into_iter().zip(config.diff_ids).collect();
        let known = Arc::new(Known { pinned: pinned.clone(), config: config.process, layers });
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MAX_KNOWN {
            all.clear();
        }
        all.insert(pinned.clone(), Arc::clone(&known));
        known
    }

    /// Which image a reference stands for.
    async fn resolve(&self, reference: &Reference, tell: Tell<'_>) -> Result<Arc<Known>, ImageError> {
        if let Some(known) = self.recall(reference) {
            return Ok(known);
        }
        if self.settings.pull == PullPolicy::Never {
            return Err(ImageError::Absent(reference.to_string()));
        }
        tell(format!("resolving {reference}"));
        let unfit = |unfit| match unfit {
            Unfit::Platform(offered) => ImageError::Platform {
                image: reference.to_string(),
                wanted: format!("linux/{}", manifest::architecture()),
                offered,
            },
            Unfit::Other(why) => unusable(reference, why),
        };
        let mut asked = reference.clone();
        let mut pinned = None;
        for _ in 0..=MAX_INDEXES {
            let (bytes, digest) = self.registry.manifest(&asked).await?;
            // The name for the image is the digest of the index, if there is one: it holds on every platform.
            let pinned = pinned.get_or_insert_with(|| reference.pinned(digest));
            let document = manifest::read_document(&bytes).map_err(unfit)?;
            self.record(Record::Manifest, digest, &bytes)?;
            match document {
                Document::Index(blob) => asked = reference.pinned(blob.digest),
                Document::Manifest(found) => {
                    let blob = found.config.digest;
                    let bytes = self.registry.small_blob(reference, blob, MAX_CONFIG_BYTES).await?;
                    let config = manifest::read_config(&bytes, found.layers.len()).map_err(unfit)?;
                    self.record(Record::Config, blob, &bytes)?;
                    if let (Version::Tag(_), Version::Digest(digest)) = (&reference.version, &pinned.version)
                    {
                        let key = Digest::of(reference.to_string().as_bytes());
                        self.record(Record::Tag, key, digest.to_string().as_bytes())?;
                    }
                    return Ok(self.remember(pinned, found, config));
                }
            }
        }
        Err(unusable(reference, "its index has an index in an index"))
    }

    fn record(&self, record: Record, key: Digest, bytes: &[u8]) -> Result<(), ImageError> {
        self.cache.write(record, key, bytes).map_err(|error| cache_error(&self.settings.cache, error))
    }

    /// All layers, if all are here. A layer that comes twice counts where it is highest: there it hides its lower self, and
    /// overlayfs takes each folder once.
    fn hold_all(&self, known: &Known) -> Result<Option<Vec<Arc<HeldLayer>>>, ImageError> {
        let mut held: Vec<Arc<HeldLayer>> = Vec::new();
        for (_, diff_id) in known.layers.iter().rev() {
            if held.iter().any(|layer| layer.digest() == *diff_id) {
                continue;
            }
            match self.cache.hold(*diff_id).map_err(|error| cache_error(&self.settings.cache, error))? {
                Some(layer) => held.push(layer),
                None => return Ok(None),
            }
        }
        held.reverse();
        Ok(Some(held))
    }

    async fn pull_layers(
        &self,
        reference: &Reference,
        known: &Known,
        tell: Tell<'_>,
    ) -> Result<Vec<Arc<HeldLayer>>, ImageError> {
        let total: u64 = known.layers.iter().map(|(blob, _)| blob.bytes).fold(0, u64::saturating_add);
        let count = known.layers.len();
        tell(format!(
            "pulling {reference} ({count} {}, {})",
            if count == 1 { "layer" } else { "layers" },
            size(total)
        ));
        let started = Instant::now();
        let received = AtomicU64::new(0);
        let pull = stream::iter(known.layers.clone())
            .map(|(blob, diff_id)| self.layer(&known.pinned, blob, diff_id, &received))
            .buffer_unordered(LAYERS_AT_ONCE)
            .try_collect::<Vec<_>>();
        tokio::pin!(pull);
        let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + PROGRESS, PROGRESS);
        // Held until all are here: the last one may not make room by removing the first.
        let _pulled = loop {
            tokio::select! {
                pulled = &mut pull => break pulled?,
                _ = ticks.tick() => {
                    let so_far = received.load(Ordering::Relaxed);
                    tell(format!("pulling {reference}: {} of {}", size(so_far), size(total)));
                }
            }
        };
        let (bytes, seconds) = (received.load(Ordering::Relaxed), started.elapsed().as_secs_f64());
        tell(format!("pulled {} ({} in {seconds:.1} s)", known.pinned, size(bytes)));
        self.hold_all(known)?.ok_or_else(|| ImageError::Absent(reference.to_string()))
    }

    /// One layer, from the cache or its registry; a connection that breaks is tried again.
    async fn layer(
        &self,
        pinned: &Reference,
        blob: Blob,
        diff_id: Digest,
        received: &AtomicU64,
    ) -> Result<Arc<HeldLayer>, ImageError> {
        let flight = self.flight(&diff_id.to_string());
        let _alone = flight.lock().await;
        if let Some(layer) =
            self.cache.hold(diff_id).map_err(|error| cache_error(&self.settings.cache, error))?
        {
            return Ok(layer);
        }
        let mut attempt = 1;
        loop {
            match self.pull_layer(pinned, blob, diff_id, received).await {
                Err(ImageError::Unreachable { why, .. }) if attempt < LAYER_ATTEMPTS => {
                    tracing::info!(image = %pinned, layer = %blob.digest, why, attempt, "a layer is pulled again");
                    attempt += 1;
                }
                ended => return ended,
            }
        }
    }

    async fn pull_layer(
        &self,
        pinned: &Reference,
        blob: Blob,
        diff_id: Digest,
        received: &AtomicU64,
    ) -> Result<Arc<HeldLayer>, ImageError> {
        let io_error = |error| cache_error(&self.settings.cache, error);
        let draft = self.cache.begin().map_err(io_error)?;
        let (feed, chunks) = channel();
        let limits = LayerLimits {
            compressed_bytes: blob.bytes.min(LayerLimits::default().compressed_bytes),
            unpacked_bytes: self.settings.max_cache_bytes.min(LayerLimits::default().unpacked_bytes),
            ..LayerLimits::default()
        };
        let expected = Expected { sent: blob.digest, plain: diff_id };
        let unpacking = tokio::task::spawn_blocking(move || {
            let unpacked = layer::unpack(chunks, draft.path(), expected, limits);
            (draft, unpacked)
        });
        let (fed, unpacked) = tokio::join!(self.feed(pinned, blob, feed, received), unpacking);
        let (draft, unpacked) = unpacked.map_err(|error| io_error(io::Error::other(error)))?;
        // What broke the stream is the reason for whatever the other end says of it.
        fed?;
        let bytes = unpacked.map_err(|error| self.layer_error(pinned, error))?;
        self.cache.publish(draft, diff_id, bytes).map_err(|error| match error {
            Unkept::Io(error) => io_error(error),
            Unkept::Full { used_bytes, max_bytes } => ImageError::NoSpace {
                image: pinned.to_string(),
                why: format!(
                    "a layer of {} does not fit into a cache of {}, of which sandboxes use {}",
                    size(bytes),
                    size(max_bytes),
                    size(used_bytes)
                ),
            },
        })
    }

    /// Sends a blob's bytes to the thread that unpacks. That this thread has given up is its own to say.
    async fn feed(
        &self,
        pinned: &Reference,
        blob: Blob,
        feed: Feed,
        received: &AtomicU64,
    ) -> Result<(), ImageError> {
        let mut body = self.registry.blob(pinned, blob.digest).await?;
        while let Some(bytes) = self.registry.next(pinned, &mut body).await? {
            received.fetch_add(bytes.len() as u64, Ordering::Relaxed);
            if feed.send(bytes).await.is_err() {
                return Ok(());
            }
        }
        let _ = feed.send(Bytes::new()).await;
        Ok(())
    }

    fn layer_error(&self, pinned: &Reference, error: LayerError) -> ImageError {
        match error {
            LayerError::Digest { expected, found } => mismatch(pinned, "a layer", expected, found),
            LayerError::Write(_, error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                ImageError::NoSpace { image: pinned.to_string(), why: error.to_string() }
            }
            LayerError::Write(path, error) => {
                cache_error(&self.settings.cache, io::Error::new(error.kind(), format!("{path}: {error}")))
            }
            error => unusable(pinned, error.to_string()),
        }
    }

    /// The lock of one thing that is done by one at a time.
    fn flight(&self, key: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = flights.get(key).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::default();
        flights.insert(key.to_owned(), Arc::downgrade(&flight));
        flight
    }
}

fn unusable(reference: &Reference, why: impl Into<String>) -> ImageError {
    ImageError::Unusable { image: reference.to_string(), why: why.into() }
}

fn cache_error(path: &Path, source: io::Error) -> ImageError {
    ImageError::Cache { path: path.display().to_string(), source }
}

/// A number of bytes as people read it.
fn size(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
