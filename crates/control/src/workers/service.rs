//! `sagewai.worker.v1.WorkerService` as a tower service: it is mounted beside REST on the same port.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt};
use protocol::worker_api::worker_service_server::{WorkerService, WorkerServiceServer};
use protocol::worker_api::{
    BlobChunk, EnrolRequest, EnrolResponse, GetBlobRequest, Hello, PutBlobResponse, ServerMessage,
    WorkerMessage, worker_message,
};
use store::blob::Blobs;
use tokio::sync::mpsc;
use tonic::{Request, Response, Status, Streaming};

use super::link::Outgoing;
use super::session::{Session, SessionError};
use super::{blobs, enrol, wire};
use crate::Control;
use crate::core::Core;

/// Bytes of one message of a worker.
const MAX_MESSAGE_BYTES: usize = 32 << 20;
/// How long a worker has for its hello.
const HELLO_TIME: Duration = Duration::from_secs(10);

/// The service over a [`Control`]; route `/sagewai.worker.v1.WorkerService/{*rpc}` to it. `blobs` is where artifacts and
/// large values are.
pub fn service(control: Control, blobs: Blobs) -> WorkerServiceServer<WorkerGateway> {
    let gateway = WorkerGateway { core: Arc::clone(control.core()), blobs };
    WorkerServiceServer::new(gateway)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX)
}

/// Answers workers.
pub struct WorkerGateway {
    core: Arc<Core>,
    blobs: Blobs,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for WorkerGateway {
    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        enrol::enrol(&self.core, request.into_inner()).await.map(Response::new)
    }

    type WorkStream = Messages<ServerMessage>;

    async fn work(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        let worker = enrol::authenticate(&self.core, request.metadata()).await?;
        let inbound = request.into_inner();
        let (failure, failed) = mpsc::channel(1);
        let (opened, session) = tokio::sync::oneshot::channel();
        let core = Arc::clone(&self.core);
        // The answer's head goes out at once: a client may wait for it before it sends its hello.
        tokio::spawn(serve(core, self.blobs.clone(), worker, inbound, opened, failure));
        let core = Arc::clone(&self.core);
        let messages = futures_util::stream::once(session).filter_map(async |opened| opened.ok()).flat_map(
            move |(link, outgoing): Opened| {
                let core = Arc::clone(&core);
                futures_util::stream::unfold(outgoing, async |mut outgoing| {
                    outgoing.recv().await.map(|message| (message, outgoing))
                })
                .map(move |message| Ok(wire::encode(&core, &link, message)))
            },
        );
        let failures = futures_util::stream::unfold(failed, async |mut failed: mpsc::Receiver<Status>| {
            failed.recv().await.map(|status| (Err(status), failed))
        });
        Ok(Response::new(Box::pin(messages.chain(failures))))
    }

    async fn put_blob(
        &self,
        request: Request<Streaming<BlobChunk>>,
    ) -> Result<Response<PutBlobResponse>, Status> {
        enrol::authenticate(&self.core, request.metadata()).await?;
        blobs::put(&self.blobs, request.into_inner()).await.map(Response::new)
    }

    type GetBlobStream = Messages<BlobChunk>;

    async fn get_blob(
        &self,
        request: Request<GetBlobRequest>,
    ) -> Result<Response<Self::GetBlobStream>, Status> {
        enrol::authenticate(&self.core, request.metadata()).await?;
        blobs::read(&self.blobs, &request.get_ref().sha256).await.map(Response::new)
    }
}

type Opened = (Arc<super::link::WorkerLink>, mpsc::Receiver<Outgoing>);

/// Serves one stream to its end.
async fn serve(
    core: Arc<Core>,
    blobs: Blobs,
    worker: store::Worker,
    mut inbound: Streaming<WorkerMessage>,
    opened: tokio::sync::oneshot::Sender<Opened>,
    failure: mpsc::Sender<Status>,
) {
    let hello = match tokio::time::timeout(HELLO_TIME, inbound.message()).await {
        Ok(Ok(Some(message))) => hello_of(message),
        Ok(Ok(None) | Err(_)) => return,
        Err(_) => Err(SessionError::Protocol(format!("no hello within {HELLO_TIME:?}"))),
    };
    let name: Arc<str> = worker.name.as_str().into();
    let session = match hello {
        Ok(hello) => Session::open(core, Arc::clone(&name), worker.draining, hello, Some(blobs)).await,
        Err(error) => Err(error),
    };
    let (mut session, outgoing) = match session {
        Ok(session) => session,
        Err(error) => {
            drop(opened);
            let _ = failure.send(status(&error)).await;
            return;
        }
    };
    if opened.send((Arc::clone(session.link()), outgoing)).is_ok() {
        tracing::info!(worker = %name, "a worker is connected");
        if let Err(error) = receive(&mut session, &mut inbound).await {
            tracing::warn!(worker = %name, %error, "a worker's stream is closed");
            let _ = failure.send(status(&error)).await;
        }
    }
    session.end().await;
    tracing::info!(worker = %name, "a worker is disconnected");
}

fn hello_of(message: WorkerMessage) -> Result<Hello, SessionError> {
    match message.kind {
        Some(worker_message::Kind::Hello(hello)) => Ok(hello),
        _ => Err(SessionError::Protocol("the first message is not a hello".to_owned())),
    }
}

/// Takes messages until the worker ends the stream, breaks it or the protocol, or the link is closed.
async fn receive(session: &mut Session, inbound: &mut Streaming<WorkerMessage>) -> Result<(), SessionError> {
    let link = Arc::clone(session.link());
    loop {
        let flush_at = session.flush_at();
        tokio::select! {
            biased;
            () = link.closed() => {
                return Err(match link.is_replaced() {
                    true => SessionError::Replaced(link.name.as_ref().to_owned()),
                    false => SessionError::Unavailable("the server closed the stream: connect again".to_owned()),
                });
            }
            () = sleep_until(flush_at), if flush_at.is_some() => session.flush().await?,
            message = inbound.message() => match message {
                Ok(Some(message)) => session.handle(message).await?,
                // The worker is gone, in good order or not: its leases stay until it is back or they expire.
                Ok(None) | Err(_) => return Ok(()),
            },
        }
    }
}

async fn sleep_until(time: Option<tokio::time::Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

fn status(error: &SessionError) -> Status {
    match error {
        SessionError::Protocol(_) => Status::invalid_argument(error.to_string()),
        SessionError::Unavailable(_) => Status::unavailable(error.to_string()),
        SessionError::Replaced(_) => Status::already_exists(error.to_string()),
    }
}
