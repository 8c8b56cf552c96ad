//! What SQLite alone must do: lock, survive a full disk and damage, open at once however much it holds, scan nothing.

mod sample;

use std::fs;
use std::time::Instant;

use bytes::Bytes;
use sample::{create, open, run_id, step_turn};
use store::blob::Blobs;
use store::sqlite::{SqliteOptions, SqliteStore};
use store::{RunFilter, Store, StoreError, Turn, TurnOutcome};

#[test]
fn a_second_server_on_the_same_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let first = open(folder.path()).unwrap();
    let error = open(folder.path()).err().expect("the file is in use");
    assert!(matches!(error, StoreError::Locked { .. }), "{error}");
    assert!(error.to_string().contains("in use by another process"), "{error}");
    drop(first);
    open(folder.path()).unwrap();
}

#[test]
fn a_file_that_is_no_database_is_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("sagewai.db"), vec![7; 8192]).unwrap();
    let error = open(folder.path()).err().expect("this is no database");
    assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
}

#[test]
fn a_newer_database_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    let connection = rusqlite::Connection::open(folder.path().join("sagewai.db")).unwrap();
    connection.pragma_update(None, "user_version", 1000).unwrap();
    drop(connection);
    let error = open(folder.path()).err().expect("the schema is newer");
    assert!(matches!(error, StoreError::NewerSchema { found: 1000, .. }), "{error}");
}

/// The limit on pages stands for the disk's: SQLite gives the same error for both. The disk itself is below.
#[tokio::test]
async fn what_does_not_fit_is_refused_and_what_fits_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagewai.db");
    let options = SqliteOptions { max_pages: Some(200), ..SqliteOptions::at(&path) };
    let store = SqliteStore::open(&options, Blobs::memory()).unwrap();
    let taken = fill(&store).await;
    assert!(taken > 0);
    drop(store);

    let store = SqliteStore::open(&SqliteOptions::at(&path), Blobs::memory()).unwrap();
    assert_eq!(store.runs(&RunFilter::default(), None, 10_000).await.unwrap().len(), taken);
    let outcomes = store.commit(vec![large(9_999)]).await.unwrap();
    assert_eq!(outcomes, [TurnOutcome::Committed { version: 1 }]);
}

#[tokio::test]
async fn a_full_disk_loses_nothing_and_the_store_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = sample::SmallDisk::mount(folder.path(), "3m") else {
        eprintln!("skipped: a small tmpfs cannot be mounted here");
        return;
    };
    let ballast = disk.path().join("ballast");
    fs::write(&ballast, vec![0; 1_000_000]).unwrap();
    let store = open(disk.path()).unwrap();
    let taken = fill(&store).await;
    // Reads go on while the disk is full.
    assert_eq!(store.runs(&RunFilter::default(), None, 10_000).await.unwrap().len(), taken);

    fs::remove_file(&ballast).unwrap();
    let outcomes = store.commit(vec![large(9_999)]).await.unwrap();
    assert_eq!(outcomes, [TurnOutcome::Committed { version: 1 }]);
    drop(store);
    let store = open(disk.path()).unwrap();
    assert_eq!(store.runs(&RunFilter::default(), None, 10_000).await.unwrap().len(), taken + 1);
    drop(store);
}

/// A turn of some 20 KiB.
fn large(number: u128) -> Turn {
    let mut turn = create(number);
    turn.events[0].event = Bytes::from(vec![b'x'; 20_000]);
    turn
}

/// Commits until the store is full; answers how many turns it took.
async fn fill(store: &SqliteStore) -> usize {
    for number in 0..1_000 {
        match store.commit(vec![large(number)]).await {
            Ok(outcomes) => assert_eq!(outcomes, [TurnOutcome::Committed { version: 1 }]),
            Err(error) => {
                assert!(matches!(error, StoreError::Full), "{error:?}");
                return number as usize;
            }
        }
    }
    panic!("the store never filled");
}

/// The group falls apart into its calls when one of them fails, so that the others are not lost with it.
#[tokio::test]
async fn a_call_that_does_not_fit_takes_no_other_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sagewai.db");
    let options = SqliteOptions { max_pages: Some(150), ..SqliteOptions::at(&path) };
    let store = SqliteStore::open(&options, Blobs::memory()).unwrap();
    let huge = (1_000..1_100).map(large).collect();
    let (small, huge, other) =
        tokio::join!(store.commit(vec![create(1)]), store.commit(huge), store.commit(vec![create(2)]));
    assert_eq!(small.unwrap(), [TurnOutcome::Committed { version: 1 }]);
    assert!(matches!(huge, Err(StoreError::Full)), "{huge:?}");
    assert_eq!(other.unwrap(), [TurnOutcome::Committed { version: 1 }]);
    assert_eq!(store.runs(&RunFilter::default(), None, 100).await.unwrap().len(), 2);
}

/// A store that opened with stored work finds it as it was.
#[tokio::test]
async fn a_store_that_opens_again_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    store.commit(vec![create(1), step_turn(1, 1)]).await.unwrap();
    let before = store.load_run(run_id(1)).await.unwrap();
    drop(store);
    let store = open(folder.path()).unwrap();
    assert_eq!(store.load_run(run_id(1)).await.unwrap(), before);
    assert_eq!(store.ready_classes().await.unwrap(), ["any"]);
}

/// Start-up reads no runs. Run by hand: it writes a million of them.
#[tokio::test]
#[ignore = "takes a minute"]
async fn a_million_runs_open_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).unwrap();
    let began = Instant::now();
    for batch in 0..500 {
        let turns = (0..2_000).map(|n| create(batch * 2_000 + n + 1)).collect();
        store.commit(turns).await.unwrap();
    }
    eprintln!("wrote 1 000 000 runs in {:?}", began.elapsed());
    drop(store);

    let began = Instant::now();
    let store = open(folder.path()).unwrap();
    eprintln!("opened in {:?}", began.elapsed());
    let page = store.unfinished_runs(None, 10_000).await.unwrap();
    assert_eq!(page.len(), 10_000);
    eprintln!("with the first page of unfinished runs: {:?}", began.elapsed());
    assert_eq!(store.counts(None).await.unwrap().runs(store::RunStatus::Pending), 1_000_000);
    store.runs(&RunFilter::default(), None, 100).await.unwrap();
    store.commit(vec![create(2_000_000)]).await.unwrap();
    eprintln!("with counts, a list and a commit: {:?}", began.elapsed());
}
