//! The cache on disk: layers by the digest of their content, and small records of what was pulled.
//!
//! A layer is unpacked in a draft and gets its name by one rename, so what has a name is complete. Whoever uses a layer
//! holds a shared lock on its folder and whoever removes one an exclusive lock, which also holds between processes.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, Mode, OFlags};

use super::digest::Digest;
use super::limits::MAX_RECORDS;

/// Digits of a layer's digest that name its folder: 127 such names fit into one page of mount options. The whole digest
/// stands in the layer's record.
const NAME_DIGITS: usize = 30;
/// Tries to lock a new draft, which a process that starts may take for an old one.
const DRAFT_ATTEMPTS: u32 = 3;
/// Records are counted each so many writes.
const WRITES_PER_COUNT: u64 = 256;
/// A layer's time of use is written at most this often.
const USE_RESOLUTION: Duration = Duration::from_secs(60);

/// The cache.
pub(super) struct Cache {
    root: PathBuf,
    max_bytes: u64,
    held: Mutex<HashMap<Digest, Weak<HeldLayer>>>,
    drafts: AtomicU64,
    writes: AtomicU64,
}

/// A layer in use: it is not removed while this lives.
#[derive(Debug)]
pub struct HeldLayer {
    name: String,
    digest: Digest,
    _lock: OwnedFd,
}

impl HeldLayer {
    /// Its folder's name in the cache's folder of layers.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Digest of its content.
    pub fn digest(&self) -> Digest {
        self.digest
    }
}

/// A folder in which a layer is being unpacked. Dropped, it goes away with what is in it.
pub(super) struct Draft {
    path: PathBuf,
    _lock: OwnedFd,
}

impl Draft {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // After it was published there is nothing here; and what is left is swept by the next start.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// What records are about.
#[derive(Clone, Copy, Debug)]
pub(super) enum Record {
    Manifest,
    Config,
    Tag,
}

impl Record {
    fn folder(self) -> &'static str {
        match self {
            Self::Manifest => "manifests",
            Self::Config => "configs",
            Self::Tag => "tags",
        }
    }
}

/// Why a finished layer was not kept.
#[derive(Debug)]
pub(super) enum Unkept {
    /// All that could be removed was.
    Full {
        used_bytes: u64,
        max_bytes: u64,
    },
    Io(io::Error),
}

impl From<io::Error> for Unkept {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The folder of layers in a cache, which sandboxes see.
pub(super) fn layers_folder(root: &Path) -> PathBuf {
    root.join("layers")
}

/// Makes the cache's folders.
pub(super) fn make_folders(root: &Path) -> io::Result<()> {
    let private = |path: &Path| fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(root)?;
    for name in ["drafts", "sizes", "manifests", "configs", "tags"] {
        private(&root.join(name))?;
    }
    // Sandboxes have other users, and see this folder alone.
    let layers = layers_folder(root);
    private(&layers)?;
    Ok(rustix::fs::chmod(&layers, Mode::from_raw_mode(0o755))?)
}

impl Cache {
    /// Opens the cache, and removes what a killed process left half-done.
    pub(super) fn open(root: &Path, max_bytes: u64) -> io::Result<Self> {
        make_folders(root)?;
        let cache = Self {
            root: root.to_owned(),
            max_bytes,
            held: Mutex::default(),
            drafts: AtomicU64::new(0),
            writes: AtomicU64::new(1),
        };
        for entry in fs::read_dir(root.join("drafts"))?.flatten() {
            let path = entry.path();
            match lock(&path, FlockOperation::NonBlockingLockExclusive) {
                Ok(Some(_lock)) => fs::remove_dir_all(&path)?,
                // Another process is at it, or has just finished.
                Ok(None) | Err(_) => {
                    let _ = fs::remove_file(&path);
                }
            }
        }
        Ok(cache)
    }

    /// The layer, if it is here. Until this is dropped it stays.
    pub(super) fn hold(&self, digest: Digest) -> io::Result<Option<Arc<HeldLayer>>> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(layer) = held.get(&digest).and_then(Weak::upgrade) {
            return Ok(Some(layer));
        }
        let name = name_of(digest);
        let record = self.size_path(&name);
        if read_size(&record)?.is_none_or(|(recorded, _)| recorded != digest) {
            return Ok(None);
        }
        let Some(lock) = lock(&self.layer_path(&name), FlockOperation::NonBlockingLockShared)? else {
            return Ok(None);
        };
        touch(&record);
        let layer = Arc::new(HeldLayer { name, digest, _lock: lock });
        held.retain(|_, layer| layer.strong_count() > 0);
        held.insert(digest, Arc::downgrade(&layer));
        Ok(Some(layer))
    }

    /// An empty folder to unpack a layer in.
    pub(super) fn begin(&self) -> io::Result<Draft> {
        for _ in 0..DRAFT_ATTEMPTS {
            let number = self.drafts.fetch_add(1, Ordering::Relaxed);
            let path = self.root.join("drafts").join(format!("{}-{number}", std::process::id()));
            match fs::DirBuilder::new().mode(0o700).create(&path) {
                // A process of the same number, before a restart.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                made => made?,
            }
            if let Some(lock) = lock(&path, FlockOperation::NonBlockingLockExclusive)? {
                return Ok(Draft { path, _lock: lock });
            }
        }
        Err(io::Error::other("no draft could be made"))
    }

    /// Names a finished draft of so many bytes; makes room for it first. Where another process was faster, its layer it is.
    pub(super) fn publish(&self, draft: Draft, digest: Digest, bytes: u64) -> Result<Arc<HeldLayer>, Unkept> {
        self.make_room(bytes)?;
        let name = name_of(digest);
        write_whole(&self.root, &self.size_path(&name), format!("{digest} {bytes}\n").as_bytes())?;
        match fs::rename(draft.path(), self.layer_path(&name)) {
            Err(error)
                if !matches!(
                    error.kind(),
                    io::ErrorKind::AlreadyExists | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                return Err(error.into());
            }
            _ => drop(draft),
        }
        self.hold(digest)?.ok_or_else(|| io::Error::other("a layer went away at once").into())
    }

    /// Removes layers that nobody uses, the longest unused first, until so many bytes fit.
    fn make_room(&self, bytes: u64) -> Result<(), Unkept> {
        let mut layers = Vec::new();
        let mut used_bytes = 0_u64;
        for entry in fs::read_dir(self.root.join("sizes"))?.flatten() {
            let Some((_, size)) = read_size(&entry.path())? else { continue };
            let name = entry.file_name().to_string_lossy().into_owned();
            if !self.layer_path(&name).is_dir() {
                // Left by a publisher that was killed, or about to be named by another.
                continue;
            }
            used_bytes = used_bytes.saturating_add(size);
            layers.push((entry.metadata().and_then(|metadata| metadata.modified()).ok(), name, size));
        }
        layers.sort();
        for (_, name, size) in layers {
            if used_bytes.saturating_add(bytes) <= self.max_bytes {
                return Ok(());
            }
            if self.remove(&name)? {
                used_bytes -= size;
            }
        }
        match used_bytes.saturating_add(bytes) <= self.max_bytes {
            true => Ok(()),
            false => Err(Unkept::Full { used_bytes, max_bytes: self.max_bytes }),
        }
    }

    /// Removes a layer; `false` where it is in use.
    fn remove(&self, name: &str) -> io::Result<bool> {
        let path = self.layer_path(name);
        let Some(_lock) = lock(&path, FlockOperation::NonBlockingLockExclusive)? else { return Ok(false) };
        let number = self.drafts.fetch_add(1, Ordering::Relaxed);
        // Out of sight by one rename, before the first of its files goes.
        let grave = self.root.join("drafts").join(format!("{}-{number}", std::process::id()));
        fs::rename(&path, &grave)?;
        fs::remove_file(self.size_path(name))?;
        fs::remove_dir_all(&grave)?;
        Ok(true)
    }

    /// A record's bytes, if there is one.
    pub(super) fn read(&self, record: Record, key: Digest) -> Option<Vec<u8>> {
        fs::read(self.root.join(record.folder()).join(key.hex())).ok()
    }

    /// Keeps a record.
    pub(super) fn write(&self, record: Record, key: Digest, bytes: &[u8]) -> io::Result<()> {
        let folder = self.root.join(record.folder());
        if self.writes.fetch_add(1, Ordering::Relaxed).is_multiple_of(WRITES_PER_COUNT) {
            forget_oldest(&folder)?;
        }
        write_whole(&self.root, &folder.join(key.hex()), bytes)
    }

    fn layer_path(&self, name: &str) -> PathBuf {
        layers_folder(&self.root).join(name)
    }

    fn size_path(&self, name: &str) -> PathBuf {
        self.root.join("sizes").join(name)
    }
}

fn name_of(digest: Digest) -> String {
    let mut name = digest.hex();
    name.truncate(NAME_DIGITS);
    name
}

/// A lock on the folder that has this path now; `None` where another has one, or there is no such folder.
fn lock(path: &Path, operation: FlockOperation) -> io::Result<Option<OwnedFd>> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = match rustix::fs::open(path, flags, Mode::empty()) {
        Err(rustix::io::Errno::NOENT) => return Ok(None),
        folder => folder?,
    };
    match rustix::fs::flock(&folder, operation) {
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let mine = rustix::fs::fstat(&folder)?;
    let named = rustix::fs::stat(path).ok();
    let is_the_same = named.is_some_and(|named| (named.st_dev, named.st_ino) == (mine.st_dev, mine.st_ino));
    Ok(is_the_same.then_some(folder))
}

/// Writes a file that is there whole or not at all.
fn write_whole(root: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let draft = root.join("drafts").join(format!("{}-file-{number}", std::process::id()));
    fs::write(&draft, bytes)?;
    fs::rename(&draft, path)
}

fn read_size(path: &Path) -> io::Result<Option<(Digest, u64)>> {
    let text = match fs::read_to_string(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        text => text?,
    };
    let parsed = text.trim().split_once(' ');
    Ok(parsed.and_then(|(digest, bytes)| Some((Digest::parse(digest)?, bytes.parse().ok()?))))
}

/// Notes that a layer is used.
fn touch(path: &Path) {
    let is_recent = fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age < USE_RESOLUTION));
    if !is_recent {
        // A wrong time only changes what is removed first.
        let _ =
            fs::File::options().append(true).open(path).and_then(|file| file.set_modified(SystemTime::now()));
    }
}

fn forget_oldest(folder: &Path) -> io::Result<()> {
    let mut records: Vec<_> = fs::read_dir(folder)?
        .flatten()
        .map(|entry| (entry.metadata().and_then(|metadata| metadata.modified()).ok(), entry.path()))
        .collect();
    let excess = records.len().saturating_sub(MAX_RECORDS);
    records.sort();
    for (_, path) in records.into_iter().take(excess) {
        fs::remove_file(path)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cache(folder: &Path, max_bytes: u64) -> Cache {
        Cache::open(folder, max_bytes).expect("a cache")
    }

    fn publish(cache: &Cache, content: &str, bytes: u64) -> Result<Arc<HeldLayer>, Unkept> {
        let draft = cache.begin().expect("a draft");
        fs::write(draft.path().join("content"), content).expect("written");
        cache.publish(draft, Digest::of(content.as_bytes()), bytes)
    }

    fn holds(cache: &Cache, content: &str) -> bool {
        cache.hold(Digest::of(content.as_bytes())).expect("readable").is_some()
    }

    /// As if the layer had been used so long ago.
    fn age(cache: &Cache, content: &str, hours: u64) {
        let path = cache.size_path(&name_of(Digest::of(content.as_bytes())));
        let then = SystemTime::now() - Duration::from_secs(hours * 3600);
        fs::File::options().append(true).open(path).and_then(|file| file.set_modified(then)).expect("aged");
    }

    #[test]
    fn what_a_killed_process_left_looks_like_nothing_and_is_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        {
            let cache = cache(folder.path(), 1000);
            let draft = cache.begin().expect("a draft");
            fs::write(draft.path().join("half"), "x").expect("written");
            // A kill runs no destructors; the kernel frees the lock.
            let path = draft.path().to_owned();
            std::mem::forget(Draft {
                path: path.clone(),
                _lock: draft._lock.try_clone().expect("a descriptor"),
            });
            drop(draft);
            fs::create_dir_all(&path).expect("left behind");
            // Killed between the record and the name.
            let name = name_of(Digest::of(b"named"));
            fs::write(cache.size_path(&name), format!("{} 10\n", Digest::of(b"named"))).expect("written");
            assert!(!holds(&cache, "named"));
        }
        fs::create_dir(folder.path().join("drafts/99999-0")).expect("left behind");
        let cache = cache(folder.path(), 1000);
        assert!(!folder.path().join("drafts/99999-0").exists());
        publish(&cache, "named", 10).expect("published after all");
    }

    #[test]
    fn a_draft_at_work_is_not_swept() {
        let folder = tempfile::tempdir().expect("a folder");
        let first = cache(folder.path(), 1000);
        let draft = first.begin().expect("a draft");
        let _second = cache(folder.path(), 1000);
        assert!(draft.path().is_dir());
    }

    #[test]
    fn the_longest_unused_goes_first_and_what_is_in_use_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 100);
        let used = publish(&cache, "used", 40).expect("fits");
        for (content, hours) in [("old", 5), ("new", 1)] {
            drop(publish(&cache, content, 30).expect("fits"));
            age(&cache, content, hours);
        }
        age(&cache, "used", 50);
        drop(publish(&cache, "more", 30).expect("fits where the old one was"));
        assert!(
            holds(&cache, "used") && holds(&cache, "new") && holds(&cache, "more") && !holds(&cache, "old")
        );
        let full = publish(&cache, "large", 70);
        assert!(matches!(full, Err(Unkept::Full { used_bytes: 40, max_bytes: 100 })), "{full:?}");
        // Another process knows of it by the lock alone.
        let other = self::cache(folder.path(), 100);
        assert!(matches!(publish(&other, "large", 70), Err(Unkept::Full { .. })));
        drop(used);
        drop(publish(&cache, "large", 70).expect("nothing is in use"));
        assert!(!holds(&cache, "used"));
    }

    #[test]
    fn one_layer_from_two_at_once_is_one_layer() {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (cache(folder.path(), 100), cache(folder.path(), 100));
        let one = publish(&first, "same", 60).expect("published");
        let draft = second.begin().expect("a draft");
        fs::write(draft.path().join("content"), "same").expect("written");
        // The second knows nothing of the first; its layer takes no more room than there is.
        let two = second.publish(draft, Digest::of(b"same"), 40).expect("the same one");
        assert_eq!(one.name(), two.name());
        assert_eq!(fs::read_dir(folder.path().join("drafts")).expect("readable").count(), 0);
    }
}
