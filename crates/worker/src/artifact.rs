//! Artifacts on their way to the server: streamed into its blob store by content hash.

use bytes::Bytes;
use futures_util::StreamExt;
use protocol::worker_api::BlobChunk;
use protocol::worker_api::worker_service_client::WorkerServiceClient;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;

use protocol::step::{Artifact, StepError};

use crate::error::communication;

/// Chunks of one file that wait for the server.
const QUEUE: usize = 8;

/// Stores files at the server.
pub(crate) struct ArtifactStore {
    server: Channel,
    credential: MetadataValue<Ascii>,
}

/// One file being stored.
pub(crate) struct Upload {
    path: String,
    chunks: mpsc::Sender<Bytes>,
    stored: tokio::task::JoinHandle<Result<(String, u64), tonic::Status>>,
}

impl ArtifactStore {
    pub(crate) fn new(server: Channel, credential: MetadataValue<Ascii>) -> Self {
        ArtifactStore { server, credential }
    }

    /// Begins to store a file that lies at `path` below /workspace.
    pub(crate) fn begin(&self, path: String) -> Upload {
        let (chunks, receiver) = mpsc::channel(QUEUE);
        let messages = ReceiverStream::new(receiver).map(|data: Bytes| BlobChunk { data: data.into() });
        let mut request = Request::new(messages);
        request.metadata_mut().insert("authorization", self.credential.clone());
        let mut client = WorkerServiceClient::new(self.server.clone());
        let stored = tokio::spawn(async move {
            let answer = client.put_blob(request).await?.into_inner();
            Ok((answer.sha256, answer.size))
        });
        Upload { path, chunks, stored }
    }
}

impl Upload {
    /// Adds content; waits while the server is slow. A failed upload shows in [`Upload::finish`].
    pub(crate) async fn add(&mut self, data: Bytes) {
        let _ = self.chunks.send(data).await;
    }

    /// Ends the file.
    ///
    /// # Errors
    /// The server did not take it.
    pub(crate) async fn finish(self) -> Result<Artifact, StepError> {
        drop(self.chunks);
        match self.stored.await {
            Ok(Ok((sha256, size))) => Ok(Artifact { path: self.path, size, sha256 }),
            Ok(Err(status)) => Err(refused(&self.path, status.message())),
            Err(_) => Err(refused(&self.path, "the upload was interrupted")),
        }
    }
}

fn refused(path: &str, why: &str) -> StepError {
    communication(502, format!("the server did not store the artifact {path:?}: {why}"))
}
