//! The writer: one thread, one connection. It takes whatever is queued, runs it in one transaction, and answers after the
//! commit. While the disk syncs, the next group gathers by itself: the busier the server, the cheaper a turn.

use std::collections::HashMap;
use std::path::Path;
use std::thread::JoinHandle;

use rusqlite::{CachedStatement, Connection};
use tokio::sync::{mpsc, oneshot};

use super::checkpoint::Checkpointer;
use crate::error::io;
use crate::{StoreError, sql};

/// Calls that wait for the writer; more wait in their callers.
const QUEUE_CALLS: usize = 1024;
/// Turns and other rows after which a group is committed, though more may be queued.
const GROUP_ROWS: usize = 2048;

/// What a write sees: the connection, within the group's transaction.
pub(super) struct Session {
    connection: Connection,
    /// By namespace and kind; added to the stored ones once per group.
    counters: HashMap<String, HashMap<u8, i64>>,
}

impl Session {
    pub(super) fn prepare(&self, sql: &str) -> Result<CachedStatement<'_>, StoreError> {
        Ok(self.connection.prepare_cached(sql)?)
    }

    /// Counts with the group's transaction.
    pub(super) fn count(&mut self, namespace: &str, kind: u8, by: i64) {
        if !self.counters.contains_key(namespace) {
            self.counters.insert(namespace.to_owned(), HashMap::new());
        }
        *self.counters.get_mut(namespace).expect("just made").entry(kind).or_default() += by;
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        self.counters.clear();
        Ok(self.connection.execute_batch("BEGIN IMMEDIATE")?)
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let mut add = self.connection.prepare_cached(sql::COUNTER_ADD)?;
        for (namespace, kinds) in &self.counters {
            for (kind, by) in kinds.iter().filter(|(_, by)| **by != 0) {
                add.execute((namespace, kind, by))?;
            }
        }
        drop(add);
        Ok(self.connection.execute_batch("COMMIT")?)
    }

    /// Ends the transaction, unless SQLite has done so itself, as on a full disk.
    fn roll_back(&mut self) {
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "failed to roll back");
        }
    }
}

/// A queued write. It may run more than once, each time in a transaction that holds nothing of the time before.
trait Job: Send {
    fn rows(&self) -> usize;
    fn run(&mut self, session: &mut Session) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, result: Result<(), StoreError>);
}

struct Call<F, T> {
    rows: usize,
    write: F,
    value: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Job for Call<F, T>
where
    F: FnMut(&mut Session) -> Result<T, StoreError> + Send,
    T: Send,
{
    fn rows(&self) -> usize {
        self.rows
    }

    fn run(&mut self, session: &mut Session) -> Result<(), StoreError> {
        self.value = Some((self.write)(session)?);
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<(), StoreError>) {
        let Call { value, reply, .. } = *self;
        // A caller that is gone does not want the answer; the write stays.
        drop(reply.send(result.map(|()| value.expect("it ran"))));
    }
}

/// The queue in front of the writer's thread.
pub(super) struct Writer {
    queue: Option<mpsc::Sender<Box<dyn Job>>>,
    thread: Option<JoinHandle<()>>,
    checkpoints: Checkpointer,
}

impl Writer {
    /// Starts the writer's thread over the connection to the database at `path`.
    pub(super) fn start(mut connection: Connection, path: &Path) -> Result<Self, StoreError> {
        let checkpoints = Checkpointer::start(&mut connection, path.to_owned())?;
        let (queue, jobs) = mpsc::channel(QUEUE_CALLS);
        let session = Session { connection, counters: HashMap::new() };
        let thread = std::thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || serve(session, jobs))
            .map_err(|e| io("start the store's writer", e))?;
        Ok(Writer { queue: Some(queue), thread: Some(thread), checkpoints })
    }

    /// Runs a write in the next group; answers after the commit. `rows` says about how much it writes.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        rows: usize,
        write: impl FnMut(&mut Session) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Call { rows, write, value: None, reply });
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(job).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for Writer {
    /// Waits until all that is queued is committed.
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the store's writer has panicked");
        }
        self.checkpoints.join();
    }
}

fn serve(mut session: Session, mut jobs: mpsc::Receiver<Box<dyn Job>>) {
    while let Some(first) = jobs.blocking_recv() {
        let mut rows = first.rows();
        let mut group = vec![first];
        while rows < GROUP_ROWS
            && let Ok(job) = jobs.try_recv()
        {
            rows += job.rows();
            group.push(job);
        }
        commit_group(&mut session, group);
    }
}

/// Commits a group. If it fails, each call is tried alone, so that one bad call, or one too large for the space that is
/// left, takes no other with it.
fn commit_group(session: &mut Session, mut group: Vec<Box<dyn Job>>) {
    match commit(session, &mut group) {
        Ok(()) => group.into_iter().for_each(|job| job.answer(Ok(()))),
        Err(error) if group.len() == 1 => group.remove(0).answer(Err(error)),
        Err(_) => group.into_iter().for_each(|job| commit_group(session, vec![job])),
    }
}

fn commit(session: &mut Session, group: &mut [Box<dyn Job>]) -> Result<(), StoreError> {
    let result = session.begin().and_then(|()| {
        group.iter_mut().try_for_each(|job| job.run(session))?;
        session.commit()
    });
    if result.is_err() {
        session.roll_back();
    }
    result
}
