//! The readers, each with read-only connections. A look is short and comes often: one thread takes all that wait and answers
//! them from one committed state, so that a busy server pays for few switches between threads. A scan may take longer: it
//! is lent a blocking thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::schema;
use crate::StoreError;
use crate::error::io;

/// Connections for scans, and so scans at once; more wait.
const SCANNERS: usize = 4;
/// Looks that wait; more wait in their callers.
const QUEUE_LOOKS: usize = 1024;
/// Looks that are answered from one state; the next ones see what was committed meanwhile.
const GROUP_LOOKS: usize = 256;

/// A look that waits: it sends its own answer.
type Look = Box<dyn FnOnce(&Connection) + Send>;

/// The readers of a database.
pub(super) struct Readers {
    path: PathBuf,
    looks: Option<mpsc::Sender<Look>>,
    thread: Option<JoinHandle<()>>,
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    /// Readers of a migrated database.
    pub(super) fn start(path: PathBuf) -> Result<Self, StoreError> {
        let connection = schema::open_reader(&path)?;
        let (looks, waiting) = mpsc::channel(QUEUE_LOOKS);
        let thread = std::thread::Builder::new()
            .name("store-reader".to_owned())
            .spawn(move || serve(&connection, waiting))
            .map_err(|e| io("start the store's reader", e))?;
        let permits = Arc::new(Semaphore::new(SCANNERS));
        Ok(Readers { path, looks: Some(looks), thread: Some(thread), free: Arc::default(), permits })
    }

    /// A short read of few rows. All its statements see the same state: that of the call, or a later one.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let look: Look = Box::new(move |connection| drop(reply.send(read(connection))));
        let looks = self.looks.as_ref().ok_or(StoreError::Closed)?;
        looks.send(look).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }

    /// A read that may take long, within one transaction, so that all its statements see the same state.
    pub(super) async fn scan<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let (free, path) = (Arc::clone(&self.free), self.path.clone());
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let lent = free.lock().expect("no thread panics while it holds the list").pop();
            let mut connection = match lent {
                Some(connection) => connection,
                None => schema::open_reader(&path)?,
            };
            let transaction = connection.transaction()?;
            let result = read(&transaction);
            drop(transaction);
            free.lock().expect("no thread panics while it holds the list").push(connection);
            result
        });
        task.await.map_err(|error| StoreError::Io { action: "read".to_owned(), source: Box::new(error) })?
    }
}

impl Drop for Readers {
    /// Waits until what is queued is answered.
    fn drop(&mut self) {
        self.looks = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's reader has panicked");
        }
    }
}

fn serve(connection: &Connection, mut waiting: mpsc::Receiver<Look>) {
    let mut group = Vec::new();
    while waiting.blocking_recv_many(&mut group, GROUP_LOOKS) > 0 {
        // Without a transaction each statement sees a state of its own, which is less than what is promised: rather none.
        let begun = connection.prepare_cached("BEGIN").and_then(|mut begin| begin.execute([]));
        if let Err(error) = begun {
            tracing::error!(%error, "the store's reader cannot begin to read");
            group.clear();
            continue;
        }
        for look in group.drain(..) {
            // One that panics answers nothing, and takes no other with it.
            if catch_unwind(AssertUnwindSafe(|| look(connection))).is_err() {
                tracing::error!("a read has panicked");
            }
        }
        let ended = connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([]));
        if let Err(error) = ended {
            tracing::error!(%error, "the store's reader cannot end a read");
        }
    }
}
