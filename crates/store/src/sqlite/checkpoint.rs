//! Checkpoints beside the commits: a thread with a connection of its own copies the log into the database file, so that no
//! commit waits for it. What was committed while it copied is little; the writer copies that itself, and the log begins
//! anew.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use rusqlite::wal::CheckpointMode;
use rusqlite::{Connection, ErrorCode};

use super::schema;
use crate::StoreError;
use crate::error::io;

/// Pages (4 KiB) of the log after which they are copied into the database file.
const CHECKPOINT_PAGES: u32 = 4_000;
/// Pages that come to the log between two attempts: as long as someone reads from it, it does not begin anew.
const PAGES_BETWEEN: u32 = 1_000;
/// Pages of the log after which the writer copies them all, however long it takes: the thread cannot keep up.
const MAX_LOG_PAGES: u32 = 64_000;
/// Pages that are few enough for the writer.
const FEW_PAGES: i32 = 400;
/// Times that the thread copies what came meanwhile, before it leaves the rest to the writer.
const MAX_PASSES: u32 = 4;

/// The thread. It ends when the writer's connection is closed.
pub(super) struct Checkpointer(Option<JoinHandle<()>>);

impl Checkpointer {
    /// Starts the thread, and lets the writer's connection wake it.
    pub(super) fn start(writer: &mut Connection, path: PathBuf) -> Result<Self, StoreError> {
        let connection = schema::open_checkpointer(&path)?;
        let (wake, woken) = sync_channel(1);
        let finish = Arc::new(AtomicBool::new(false));
        watch(writer, wake, Arc::clone(&finish))?;
        let thread = std::thread::Builder::new()
            .name("store-checkpoints".to_owned())
            .spawn(move || serve(&connection, &woken, &finish))
            .map_err(|e| io("start the store's checkpoints", e))?;
        Ok(Checkpointer(Some(thread)))
    }

    /// Waits for the thread, once the writer's connection is closed.
    pub(super) fn join(&mut self) {
        if let Some(thread) = self.0.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's checkpoints have panicked");
        }
    }
}

/// Looks at the log's length after each commit.
fn watch(writer: &mut Connection, wake: SyncSender<()>, finish: Arc<AtomicBool>) -> Result<(), StoreError> {
    let mut tried_at = 0;
    writer.wal_hook(Some(move |log: &mut rusqlite::hooks::Wal, pages: i32| {
        let pages = u32::try_from(pages).unwrap_or(0);
        if pages < tried_at {
            // It began anew.
            tried_at = 0;
        }
        let is_due = pages >= CHECKPOINT_PAGES && pages - tried_at >= PAGES_BETWEEN;
        if finish.swap(false, Ordering::AcqRel) || (is_due && pages >= MAX_LOG_PAGES) {
            tried_at = pages;
            // The commit stands, whatever becomes of the checkpoint: the log keeps what is not copied.
            if let Err(error) = log.checkpoint()
                && !is_busy(&error)
            {
                tracing::warn!(%error, "a checkpoint failed");
            }
        } else if is_due {
            tried_at = pages;
            // Full: it is awake.
            let _ = wake.try_send(());
        }
        Ok(())
    }))?;
    Ok(())
}

/// Whether the other one copies just now.
fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

fn serve(connection: &Connection, woken: &Receiver<()>, finish: &AtomicBool) {
    while woken.recv().is_ok() {
        match copy(connection) {
            Ok(true) => finish.store(true, Ordering::Release),
            Ok(false) => {}
            Err(error) if is_busy(&error) => {}
            Err(error) => tracing::warn!(%error, "a checkpoint failed"),
        }
    }
}

/// Copies the log; answers whether the writer is to copy a rest.
fn copy(connection: &Connection) -> Result<bool, rusqlite::Error> {
    for _ in 0..MAX_PASSES {
        let (pages, copied) = connection.wal_checkpoint_v2(None::<&str>, CheckpointMode::PASSIVE)?;
        // The next commit begins the log anew, or the log is short.
        if pages == copied {
            return Ok(false);
        }
        if pages - copied <= FEW_PAGES {
            break;
        }
    }
    Ok(true)
}
