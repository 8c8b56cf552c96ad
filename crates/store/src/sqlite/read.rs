//! The readers: a few read-only connections, lent to blocking threads. Each read sees one committed state.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rusqlite::Connection;
use tokio::sync::Semaphore;

use super::schema;
use crate::StoreError;

/// Connections, and so reads at once; more wait.
const READERS: usize = 4;

#[derive(Clone)]
pub(super) struct Readers {
    path: PathBuf,
    free: Arc<Mutex<Vec<Connection>>>,
    permits: Arc<Semaphore>,
}

impl Readers {
    pub(super) fn new(path: PathBuf) -> Self {
        Readers { path, free: Arc::default(), permits: Arc::new(Semaphore::new(READERS)) }
    }

    /// Runs a read within one transaction, so that all its statements see the same state.
    pub(super) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = self.permits.clone().acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            let mut connection = match readers.free().pop() {
                Some(connection) => connection,
                None => schema::open_reader(&readers.path)?,
            };
            let transaction = connection.transaction()?;
            let result = read(&transaction);
            drop(transaction);
            readers.free().push(connection);
            result
        });
        task.await.map_err(|error| StoreError::Io { action: "read".to_owned(), source: Box::new(error) })?
    }

    fn free(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.free.lock().expect("no thread panics while it holds the list")
    }
}
