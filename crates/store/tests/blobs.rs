//! The blob store: contents by their hash, whole or not at all.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod sample;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use sample::{create, open, run_id};
use store::blob::{BlobError, BlobId, Blobs};
use store::memory::MemoryStore;
use store::{MAX_INLINE_BYTES, RunFilter, Store};

/// SHA-256 of "abc" (FIPS 180-2, appendix B.1).
const ABC: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test]
async fn a_content_comes_back_by_its_hash() {
    let folder = tempfile::tempdir().unwrap();
    for blobs in [Blobs::memory(), Blobs::folder(folder.path()).unwrap()] {
        let blob = blobs.put(Bytes::from_static(b"abc")).await.unwrap();
        assert_eq!(blob.to_string(), ABC);
        assert_eq!(blob, ABC.parse().unwrap());
        assert_eq!(blobs.put(Bytes::from_static(b"abc")).await.unwrap(), blob);
        assert_eq!(blobs.read(blob, 3).await.unwrap(), "abc");
        assert!(blobs.contains(blob).await.unwrap());
        assert!(matches!(blobs.read(blob, 2).await, Err(BlobError::TooLarge { limit_bytes: 2 })));
        let missing = BlobId([0; 32]);
        assert!(matches!(blobs.read(missing, 1).await, Err(BlobError::Missing(id)) if id == missing));
        let empty = blobs.put(Bytes::new()).await.unwrap();
        assert_eq!(blobs.read(empty, 0).await.unwrap(), "");
    }
    assert_eq!(files(folder.path()).len(), 2);
}

#[tokio::test]
async fn a_stream_has_a_limit_and_leaves_nothing_when_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::folder(folder.path()).unwrap();
    let mut writer = blobs.writer(20_000_000).await.unwrap();
    let part = Bytes::from(vec![7; 6_000_000]);
    for _ in 0..3 {
        writer.write(part.clone()).await.unwrap();
    }
    let (blob, size) = writer.finish().await.unwrap();
    assert_eq!(size, 18_000_000);
    let mut reader = blobs.reader(blob).await.unwrap();
    let mut read = 0;
    while let Some(part) = reader.next().await.unwrap() {
        assert!(part.iter().all(|byte| *byte == 7));
        read += part.len();
    }
    assert_eq!((read, reader.size()), (18_000_000, 18_000_000));

    let mut writer = blobs.writer(10_000_000).await.unwrap();
    writer.write(part.clone()).await.unwrap();
    assert!(matches!(writer.write(part).await, Err(BlobError::TooLarge { limit_bytes: 10_000_000 })));
    drop(writer);
    drop(blobs);
    Blobs::folder(folder.path()).unwrap();
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_damaged_content_is_found_out() {
    let folder = tempfile::tempdir().unwrap();
    let blobs = Blobs::folder(folder.path()).unwrap();
    let blob = blobs.put(Bytes::from_static(b"abc")).await.unwrap();
    fs::write(&files(folder.path())[0], b"abd").unwrap();
    assert!(matches!(blobs.read(blob, 3).await, Err(BlobError::Damaged(id)) if id == blob));
}

#[tokio::test]
async fn a_full_disk_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = sample::SmallDisk::mount(folder.path(), "1m") else {
        eprintln!("skipped: a small tmpfs cannot be mounted here");
        return;
    };
    let blobs = Blobs::folder(disk.path()).unwrap();
    let error = blobs.put(Bytes::from(vec![1; 2_000_000])).await.unwrap_err();
    assert!(matches!(error, BlobError::Full), "{error:?}");
    blobs.put(Bytes::from(vec![1; 100_000])).await.unwrap();
    drop(blobs);
}

#[tokio::test]
async fn the_sweep_deletes_what_is_old_and_unused() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let blobs = Blobs::folder(&folder.path().join("other")).unwrap();
    let value = Bytes::from(vec![b'v'; MAX_INLINE_BYTES + 1]);
    let unused = blobs.put(Bytes::from_static(b"nobody wants this")).await.unwrap();
    let used = blobs.put(value.clone()).await.unwrap();
    let mut turn = create(1);
    turn.events[0].event = value;
    store.commit(vec![turn]).await.unwrap();

    let (hour, now) = (Duration::from_secs(3600), SystemTime::now());
    assert_eq!(blobs.sweep(&store, now, hour).await.unwrap(), 0, "all are young");
    assert_eq!(blobs.sweep(&store, now + 2 * hour, hour).await.unwrap(), 1);
    assert!(!blobs.contains(unused).await.unwrap());
    assert!(blobs.contains(used).await.unwrap());
    assert_eq!(blobs.sweep(&MemoryStore::new(), now + 2 * hour, hour).await.unwrap(), 1);
}

/// Small values stay in the database; large ones are one file each, however often they stand there.
#[tokio::test]
async fn large_values_are_blobs() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let blobs = folder.path().join("blobs");
    let of_size = |number, bytes| {
        let mut turn = create(number);
        turn.events[0].event = Bytes::from(vec![b'v'; bytes]);
        turn
    };
    store.commit(vec![of_size(1, MAX_INLINE_BYTES)]).await.unwrap();
    assert_eq!(files(&blobs).len(), 0);
    store.commit(vec![of_size(2, MAX_INLINE_BYTES + 1), of_size(3, MAX_INLINE_BYTES + 1)]).await.unwrap();
    assert_eq!(files(&blobs).len(), 1);
    assert_eq!(store.runs(&RunFilter::default(), None, 10).await.unwrap().len(), 3);
    assert_eq!(store.history(run_id(3), 0, 1).await.unwrap()[0].event.len(), MAX_INLINE_BYTES + 1);
}

/// A blob that is about to be used again, or that a run uses, outlives the run that used it first.
#[tokio::test]
async fn the_sweep_after_a_deletion_takes_no_blob_that_is_claimed_or_used() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let blobs = Blobs::folder(&folder.path().join("other")).unwrap();
    let shared = Bytes::from(vec![b's'; MAX_INLINE_BYTES + 1]);
    let own = Bytes::from(vec![b'o'; MAX_INLINE_BYTES + 1]);
    let (shared_blob, own_blob) =
        (blobs.put(shared.clone()).await.unwrap(), blobs.put(own.clone()).await.unwrap());
    for (number, values) in [(1, vec![shared.clone(), own]), (2, vec![shared])] {
        let mut turn = create(number);
        let event = turn.events[0].clone();
        turn.events =
            values.into_iter().map(|value| store::EncodedEvent { event: value, ..event.clone() }).collect();
        let at = event.at;
        let status = store::RunStatus::Completed;
        turn.summary = Some(store::SummaryChange {
            status,
            output: None,
            error: None,
            updated_at: at,
            finished_at: Some(at),
        });
        store.commit(vec![turn]).await.unwrap();
    }
    let (hour, later) = (Duration::from_secs(3600), SystemTime::now() + Duration::from_secs(2 * 3600));
    while store.delete_run(run_id(1), 1).await.unwrap() == store::Deleted::More {}
    // After both were written: by their age alone they could go.
    let between = SystemTime::now();
    assert_eq!(blobs.claim(own_blob).await.unwrap(), Some(MAX_INLINE_BYTES as u64 + 1));
    assert_eq!(blobs.sweep(&store, between, Duration::ZERO).await.unwrap(), 0, "one is claimed, one is used");
    assert_eq!(blobs.sweep(&store, later, hour).await.unwrap(), 1, "the claim is old");
    assert!(!blobs.contains(own_blob).await.unwrap());
    assert!(blobs.contains(shared_blob).await.unwrap());
}
