//! One open stream of a worker, as the committer sees it: where messages for it go.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use protocol::id::{AttemptId, Timestamp};
use protocol::worker_api::Hello;
use tokio::sync::{Notify, mpsc};

use crate::dispatch::class::Capabilities;
use crate::dispatch::queue::RunMeta;

/// Name of a worker, as enrolled.
pub(crate) type WorkerName = Arc<str>;

/// Messages that wait for a worker; one that does not read so many is cut off.
pub(crate) const MAX_OUTBOUND: usize = 1024;

/// A message for a worker, before it is put in its wire form.
#[derive(Debug)]
pub(crate) enum Outgoing {
    /// The first one.
    Welcome {
        /// Attempts that the worker holds no more.
        lost: Vec<AttemptId>,
    },
    /// Steps to run.
    Assign(Vec<Assigned>),
    /// Attempts to stop.
    Cancel(Vec<AttemptId>),
    /// Reports that need not be sent again.
    Acknowledge(Vec<AttemptId>),
    /// Take no more steps.
    Drain,
    /// Leases hold longer.
    Heartbeat {
        /// The worker's number for it.
        beat: u64,
    },
}

/// A step for a worker.
#[derive(Debug)]
pub(crate) struct Assigned {
    /// The attempt.
    pub(crate) attempt: AttemptId,
    /// JSON of the spec.
    pub(crate) spec: Bytes,
    /// Its run.
    pub(crate) meta: Arc<RunMeta>,
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct WorkerLink {
    /// The worker.
    pub(crate) name: WorkerName,
    /// What it offers.
    pub(crate) capabilities: Capabilities,
    outbound: Mutex<Option<mpsc::Sender<Outgoing>>>,
    closed: AtomicBool,
    replaced: AtomicBool,
    closing: Notify,
    last_seen: AtomicI64,
}

impl WorkerLink {
    /// A link and the messages that are put in it.
    pub(crate) fn new(
        name: WorkerName,
        hello: &Hello,
        now: Timestamp,
    ) -> (Arc<Self>, mpsc::Receiver<Outgoing>) {
        let (outbound, messages) = mpsc::channel(MAX_OUTBOUND);
        let link = WorkerLink {
            name,
            capabilities: Capabilities::of(hello),
            outbound: Mutex::new(Some(outbound)),
            closed: AtomicBool::new(false),
            replaced: AtomicBool::new(false),
            closing: Notify::new(),
            last_seen: AtomicI64::new(now.0),
        };
        (Arc::new(link), messages)
    }

    /// Sends a message. A worker that does not keep up is cut off: it comes back and is told anew.
    pub(crate) fn send(&self, message: Outgoing) {
        let sent = match &*self.outbound.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(outbound) => outbound.try_send(message),
            None => return,
        };
        if sent.is_err() {
            tracing::warn!(worker = %self.name, "the worker does not read its messages: its stream is closed");
            self.close();
        }
    }

    /// Ends the stream: what was sent is still delivered.
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.outbound.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.closing.notify_one();
    }

    /// Ends the stream because the worker has opened another one.
    pub(crate) fn replace(&self) {
        self.replaced.store(true, Ordering::Release);
        self.close();
    }

    /// Whether the worker has opened another stream.
    pub(crate) fn is_replaced(&self) -> bool {
        self.replaced.load(Ordering::Acquire)
    }

    /// Whether messages still arrive.
    pub(crate) fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// Waits until the link is closed.
    pub(crate) async fn closed(&self) {
        if self.is_open() {
            self.closing.notified().await;
        }
    }

    /// The worker was heard of.
    pub(crate) fn seen(&self, now: Timestamp) {
        self.last_seen.store(now.0, Ordering::Relaxed);
    }

    /// When the worker was heard of last.
    pub(crate) fn last_seen(&self) -> Timestamp {
        Timestamp(self.last_seen.load(Ordering::Relaxed))
    }
}
