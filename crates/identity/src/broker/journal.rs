//! The journal: the one writer of used grants and of the audit trail. What arrives while the disk syncs is written together
//! with the next sync, so that a slow disk limits the delay and not the rate. Nobody is answered before the sync.

use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::oneshot;

use super::single_use::{GrantHash, UsedGrants, UsedLog};
use crate::audit::{AuditLog, Event};

/// Most entries that wait for the disk.
pub const MAX_WAITING: usize = 1024;
/// Most entries that are written with one sync.
pub const MAX_BATCH: usize = 256;
/// After how long without entries the trail's end is signed, seconds.
const IDLE_SECONDS: u64 = 1;

/// Why an entry was not recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// Too many wait.
    #[error("the journal is busy")]
    Busy,
    /// The disk refused; the log says why.
    #[error("the journal cannot be written")]
    Disk,
}

/// What is recorded at once: a grant that is used, and what happened.
struct Entry {
    grant: Option<(GrantHash, i64)>,
    event: Event,
    done: oneshot::Sender<Result<u64, JournalError>>,
}

/// The journal; dropping it writes what waits, signs the trail's end, and waits for that.
pub struct Journal {
    sender: Option<SyncSender<Entry>>,
    thread: Option<JoinHandle<()>>,
}

impl Journal {
    /// Starts the writer. `now_ms` is the clock, milliseconds since the Unix epoch.
    pub fn start(
        audit: AuditLog,
        used_log: UsedLog,
        used: Arc<Mutex<UsedGrants>>,
        now_ms: fn() -> i64,
    ) -> std::io::Result<Self> {
        let (sender, entries) = sync_channel(MAX_WAITING);
        let writer = Writer { audit, used_log, used, now_ms };
        let thread =
            std::thread::Builder::new().name("journal".into()).spawn(move || writer.run(&entries))?;
        Ok(Journal { sender: Some(sender), thread: Some(thread) })
    }

    /// Records an event, and a grant's use with it; returns the line's number once both are on disk.
    pub async fn record(&self, grant: Option<(GrantHash, i64)>, event: Event) -> Result<u64, JournalError> {
        let (done, recorded) = oneshot::channel();
        let sender = self.sender.as_ref().expect("the sender is there until the journal is dropped");
        sender.try_send(Entry { grant, event, done }).map_err(|error| match error {
            TrySendError::Full(_) => JournalError::Busy,
            TrySendError::Disconnected(_) => JournalError::Disk,
        })?;
        recorded.await.unwrap_or(Err(JournalError::Disk))
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        drop(self.sender.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    audit: AuditLog,
    used_log: UsedLog,
    used: Arc<Mutex<UsedGrants>>,
    now_ms: fn() -> i64,
}

impl Writer {
    fn run(mut self, entries: &Receiver<Entry>) {
        loop {
            match entries.recv_timeout(Duration::from_secs(IDLE_SECONDS)) {
                Ok(first) => {
                    let batch: Vec<_> =
                        std::iter::once(first).chain(entries.try_iter().take(MAX_BATCH - 1)).collect();
                    self.write(batch);
                    if self.audit.checkpoint_due() {
                        self.checkpoint();
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.checkpoint();
                    self.forget();
                }
                Err(RecvTimeoutError::Disconnected) => return self.checkpoint(),
            }
        }
    }

    fn write(&mut self, batch: Vec<Entry>) {
        let now_ms = (self.now_ms)();
        let grants: Vec<_> = batch.iter().filter_map(|entry| entry.grant).collect();
        let events: Vec<_> = batch.iter().map(|entry| (now_ms, entry.event.clone())).collect();
        let written = self
            .used_log
            .append(&grants)
            .map_err(|error| error.to_string())
            .and_then(|()| self.audit.append(&events).map_err(|error| error.to_string()));
        if let Err(error) = &written {
            tracing::error!(
                error,
                entries = batch.len(),
                "the journal could not be written; nothing is handed out"
            );
        }
        for (at, entry) in batch.into_iter().enumerate() {
            let answer = written.as_ref().map(|first| first + at as u64).map_err(|_| JournalError::Disk);
            // A caller that went away needs no answer.
            let _ = entry.done.send(answer);
        }
    }

    fn checkpoint(&mut self) {
        if let Err(error) = self.audit.checkpoint((self.now_ms)()) {
            tracing::error!(%error, "the audit trail's end could not be signed");
        }
    }

    fn forget(&mut self) {
        let mut used = self.used.lock().expect("no holder of this lock panics");
        used.prune((self.now_ms)() / 1000);
        if self.used_log.rewrite_due(&used)
            && let Err(error) = self.used_log.rewrite(&used)
        {
            tracing::error!(%error, "the log of used grants could not be rewritten");
        }
    }
}
