//! `sagewai.worker.v1.WorkerService` as a tower service: the API mounts it beside REST on the same port.

use std::pin::Pin;

use futures_util::Stream;
use protocol::worker_api::worker_service_server::{WorkerService, WorkerServiceServer};
use protocol::worker_api::{
    BlobChunk, EnrolRequest, EnrolResponse, GetBlobRequest, PutBlobResponse, ServerMessage, WorkerMessage,
};
use tonic::{Request, Response, Status, Streaming};

use crate::Control;

/// The service over a [`Control`]; route `/sagewai.worker.v1.WorkerService/{*rpc}` to it.
pub fn service(control: Control) -> WorkerServiceServer<WorkerGateway> {
    WorkerServiceServer::new(WorkerGateway { control })
}

/// Answers workers.
pub struct WorkerGateway {
    control: Control,
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for WorkerGateway {
    async fn enrol(&self, _request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        self.control.ready().map_err(Status::unavailable)?;
        Err(Status::unavailable("not built yet"))
    }

    type WorkStream = Messages<ServerMessage>;

    async fn work(
        &self,
        _request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        Err(Status::unavailable("not built yet"))
    }

    async fn put_blob(
        &self,
        _request: Request<Streaming<BlobChunk>>,
    ) -> Result<Response<PutBlobResponse>, Status> {
        Err(Status::unavailable("not built yet"))
    }

    type GetBlobStream = Messages<BlobChunk>;

    async fn get_blob(
        &self,
        _request: Request<GetBlobRequest>,
    ) -> Result<Response<Self::GetBlobStream>, Status> {
        Err(Status::unavailable("not built yet"))
    }
}
