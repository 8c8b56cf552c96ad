//! A server that does what the test says: it takes workers' streams and hands both ends to the test.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use protocol::id::{AttemptId, RunId, StepId};
use protocol::step::{HttpCall, Mode, ProcessRun, StepOutcome, StepSpec, Work};
use protocol::worker_api::worker_service_server::{WorkerService, WorkerServiceServer};
use protocol::worker_api::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_stream::{Stream, StreamExt};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use worker::{Capacity, WorkerConfig};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The server; workers connect to `address`.
pub(crate) struct FakeServer {
    pub(crate) address: SocketAddr,
    streams: mpsc::Receiver<Link>,
}

/// One worker's stream, from the server's side.
pub(crate) struct Link {
    pub(crate) from_worker: Streaming<WorkerMessage>,
    pub(crate) to_worker: mpsc::Sender<Result<ServerMessage, Status>>,
}

struct Service(mpsc::Sender<Link>);

type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl WorkerService for Service {
    type WorkStream = Outgoing<ServerMessage>;
    type GetBlobStream = Outgoing<BlobChunk>;

    async fn enrol(&self, request: Request<EnrolRequest>) -> Result<Response<EnrolResponse>, Status> {
        let request = request.into_inner();
        if request.join_token != "good" {
            return Err(Status::permission_denied("the join token is unknown"));
        }
        Ok(Response::new(EnrolResponse { name: request.name, credential: "secret".to_owned() }))
    }

    async fn work(
        &self,
        request: Request<Streaming<WorkerMessage>>,
    ) -> Result<Response<Self::WorkStream>, Status> {
        if request.metadata().get("authorization").is_none_or(|value| value != "Bearer secret") {
            return Err(Status::unauthenticated("the credential is unknown"));
        }
        let (to_worker, outgoing) = mpsc::channel(64);
        let link = Link { from_worker: request.into_inner(), to_worker };
        self.0.send(link).await.map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }

    async fn put_blob(&self, _: Request<Streaming<BlobChunk>>) -> Result<Response<PutBlobResponse>, Status> {
        Err(Status::unimplemented("not in this test"))
    }

    async fn get_blob(&self, _: Request<GetBlobRequest>) -> Result<Response<Self::GetBlobStream>, Status> {
        Err(Status::unimplemented("not in this test"))
    }
}

impl FakeServer {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, streams) = mpsc::channel(8);
        let service = WorkerServiceServer::new(Service(sender));
        tokio::spawn(
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(TcpListenerStream::new(listener)),
        );
        FakeServer { address, streams }
    }

    /// The next stream that a worker opens, with its hello.
    pub(crate) async fn accept(&mut self) -> (Link, Hello) {
        let mut link = patient(self.streams.recv()).await.expect("a worker connects");
        match link.next().await {
            worker_message::Kind::Hello(hello) => (link, hello),
            other => panic!("a stream begins with hello, not {other:?}"),
        }
    }

    /// As [`FakeServer::accept`], and welcomes the worker.
    pub(crate) async fn welcome(&mut self, lost: Vec<AttemptId>) -> (Link, Hello) {
        let (link, hello) = self.accept().await;
        let lost = lost.into_iter().map(Into::into).collect();
        link.send(server_message::Kind::Welcome(Welcome {
            server: "test".to_owned(),
            lease_seconds: 15,
            heartbeat_seconds: 5,
            lost,
        }))
        .await;
        (link, hello)
    }
}

impl Link {
    pub(crate) async fn send(&self, kind: server_message::Kind) {
        self.to_worker.send(Ok(ServerMessage { kind: Some(kind) })).await.expect("the worker listens");
    }

    pub(crate) async fn assign(&self, attempt: AttemptId, spec: &StepSpec) {
        let assignment = Assignment {
            attempt: Some(attempt.into()),
            spec: serde_json::to_vec(spec).unwrap(),
            grant: String::new(),
            namespace: "test".to_owned(),
            workflow: "test".to_owned(),
        };
        self.send(server_message::Kind::Assign(Assign { steps: vec![assignment] })).await;
    }

    pub(crate) async fn acknowledge(&self, attempt: AttemptId) {
        self.send(server_message::Kind::Acknowledge(Acknowledge { attempts: vec![attempt.into()] })).await;
    }

    /// The next message but heartbeats.
    pub(crate) async fn next(&mut self) -> worker_message::Kind {
        loop {
            let message =
                patient(self.from_worker.next()).await.expect("the worker speaks").expect("well-formed");
            match message.kind.expect("a known kind") {
                worker_message::Kind::Heartbeat(_) => {}
                kind => return kind,
            }
        }
    }

    /// The next outcome; what comes before it is passed over.
    pub(crate) async fn outcome(&mut self) -> (AttemptId, StepOutcome) {
        loop {
            let worker_message::Kind::Reports(reports) = self.next().await else { continue };
            for report in reports.reports {
                if let Some(report::Kind::Outcome(outcome)) = report.kind {
                    let attempt = AttemptId::try_from(&report.attempt.unwrap()).unwrap();
                    return (attempt, serde_json::from_slice(&outcome).unwrap());
                }
            }
        }
    }

    /// Waits until the worker says that a step's work has begun.
    pub(crate) async fn started(&mut self) {
        loop {
            let worker_message::Kind::Reports(reports) = self.next().await else { continue };
            let began =
                |report: &Report| matches!(&report.kind, Some(report::Kind::Progress(p)) if p.started);
            if reports.reports.iter().any(began) {
                return;
            }
        }
    }
}

pub(crate) async fn patient<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes in time")
}

/// A worker without sandboxes, mode 0 processes allowed.
pub(crate) struct TestWorker {
    pub(crate) shutdown: CancellationToken,
    pub(crate) done: tokio::task::JoinHandle<Result<(), worker::WorkerError>>,
    _scratch: tempfile::TempDir,
}

pub(crate) fn start_worker(address: SocketAddr, change: impl FnOnce(&mut WorkerConfig)) -> TestWorker {
    let scratch = tempfile::tempdir().unwrap();
    let mut config = WorkerConfig {
        server: format!("http://{address}"),
        name: "w1".to_owned(),
        credential: "secret".to_owned(),
        labels: Default::default(),
        capacity: Capacity { slots: 4, ..Capacity::default() },
        bare_run: true,
        broker: None,
        agents: Vec::new(),
        egress: Default::default(),
        scratch: scratch.path().to_owned(),
    };
    change(&mut config);
    let shutdown = CancellationToken::new();
    let done = tokio::spawn(worker::run(config, Vec::new(), shutdown.clone()));
    TestWorker { shutdown, done, _scratch: scratch }
}

pub(crate) fn attempt(step: u32) -> AttemptId {
    AttemptId { run: RunId(Default::default()), step: StepId(step), attempt: 1 }
}

pub(crate) fn bare(work: Work) -> StepSpec {
    StepSpec {
        task: "/do/0/test".to_owned(),
        work,
        mode: Mode::Bare,
        identity: None,
        image: None,
        network: Vec::new(),
        resources: Default::default(),
        requires: Default::default(),
        backend: None,
        artifacts: Vec::new(),
        timeout_ms: None,
    }
}

pub(crate) fn shell(command: &str) -> StepSpec {
    bare(Work::Shell(ProcessRun { command: command.to_owned(), ..ProcessRun::default() }))
}

pub(crate) fn get(uri: String) -> StepSpec {
    bare(Work::Http(HttpCall {
        method: "GET".to_owned(),
        uri,
        headers: Vec::new(),
        body: None,
        output: Default::default(),
        redirect: false,
        authentication: None,
    }))
}
