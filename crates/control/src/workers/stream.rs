//! A worker's stream without its transport: what the gRPC service does between two messages, for workers in the same
//! process, as tests and simulations have them.

use std::sync::Arc;

use protocol::worker_api::{Hello, ServerMessage, WorkerMessage};
use store::Worker;
use tokio::sync::mpsc;

use super::link::Outgoing;
use super::session::Session;
use super::wire;
use crate::Control;
use crate::core::Core;

/// An open stream of a worker. Dropped, it ends as a connection that is cut.
pub struct WorkerStream {
    core: Arc<Core>,
    session: Session,
    outgoing: mpsc::Receiver<Outgoing>,
}

impl WorkerStream {
    /// Opens a stream for an enrolled worker, which has said `hello`.
    ///
    /// # Errors
    /// A sentence, when the hello is refused or the store fails.
    pub async fn open(control: &Control, worker: &Worker, hello: Hello) -> Result<Self, String> {
        let core = Arc::clone(control.core());
        let name = worker.name.as_str().into();
        let opened = Session::open(Arc::clone(&core), name, worker.draining, hello, None).await;
        let (session, outgoing) = opened.map_err(|error| error.to_string())?;
        Ok(WorkerStream { core, session, outgoing })
    }

    /// Takes a message of the worker.
    ///
    /// # Errors
    /// A sentence, when the message breaks the protocol; the stream is then to be dropped.
    pub async fn send(&mut self, message: WorkerMessage) -> Result<(), String> {
        self.session.handle(message).await.map_err(|error| error.to_string())
    }

    /// The next message for the worker; `None` when the server has closed the stream.
    pub async fn next(&mut self) -> Option<ServerMessage> {
        let message = self.outgoing.recv().await?;
        Some(wire::encode(&self.core, self.session.link(), message))
    }

    /// A message for the worker, if there is one now.
    pub fn try_next(&mut self) -> Option<ServerMessage> {
        let message = self.outgoing.try_recv().ok()?;
        Some(wire::encode(&self.core, self.session.link(), message))
    }
}
