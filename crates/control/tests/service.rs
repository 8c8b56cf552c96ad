//! The gRPC service over TCP, with the client that the protocol's code gives: enrolment, the work stream, grants, logs, blobs.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test is to be seen where it does")]

mod support;

use std::net::SocketAddr;

use control::logs::LogEntry;
use control::{ControlConfig, GrantKey};
use futures_util::StreamExt;
use protocol::id::AttemptId;
use protocol::step::StepOutcome;
use protocol::worker_api::worker_service_client::WorkerServiceClient;
use protocol::worker_api::{
    Assignment, BlobChunk, EnrolRequest, GetBlobRequest, LogChunk, Logs, Progress, Ready, Report, Reports,
    ServerMessage, WorkerMessage, report, server_message, worker_message,
};
use seal::SigningKey;
use seal::grant::GrantVerifier;
use serde_json::json;
use store::blob::Blobs;
use store::{JoinToken, RunStatus, StepState};
use support::*;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Code, Request, Streaming};

const SEED: [u8; 32] = [7; 32];

/// A plant whose worker service listens on loopback.
async fn serve(change: impl FnOnce(&mut ControlConfig)) -> (Plant, WorkerServiceClient<Channel>) {
    let plant = Plant::with(std::sync::Arc::new(store::memory::MemoryStore::new()), change).await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    let service = control::workers::service(plant.control.clone(), Blobs::memory());
    let router = axum::Router::new().route_service("/sagewai.worker.v1.WorkerService/{*rpc}", service);
    tokio::spawn(async move { axum::serve(listener, router).await });
    let client = WorkerServiceClient::connect(format!("http://{address}")).await.unwrap();
    (plant, client)
}

async fn enrol(plant: &Plant, client: &mut WorkerServiceClient<Channel>, name: &str) -> String {
    use sha2::{Digest, Sha256};
    let token = JoinToken {
        id: name.to_owned(),
        hash: Sha256::digest(b"join").into(),
        name: "for the test".to_owned(),
        created_at: START,
        expires_at: Some(START.plus(60_000)),
    };
    plant.durable.put_join_token(token).await.unwrap();
    let request = EnrolRequest { join_token: "join".to_owned(), name: name.to_owned() };
    client.enrol(request).await.unwrap().into_inner().credential
}

fn authorised<T>(message: T, credential: &str) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("authorization", format!("Bearer {credential}").parse().unwrap());
    request
}

struct Wire {
    say: mpsc::Sender<WorkerMessage>,
    hear: Streaming<ServerMessage>,
}

impl Wire {
    async fn open(client: &mut WorkerServiceClient<Channel>, credential: &str) -> Self {
        let (say, messages) = mpsc::channel(16);
        let request = authorised(ReceiverStream::new(messages), credential);
        let hear = client.work(request).await.unwrap().into_inner();
        let mut wire = Wire { say, hear };
        let mut hello = plain_hello();
        hello.modes.push("identity".to_owned());
        wire.say(worker_message::Kind::Hello(hello)).await;
        assert!(matches!(wire.hear().await, server_message::Kind::Welcome(_)));
        wire
    }

    async fn say(&mut self, kind: worker_message::Kind) {
        self.say.send(WorkerMessage { kind: Some(kind) }).await.unwrap();
    }

    async fn hear(&mut self) -> server_message::Kind {
        let message = tokio::time::timeout(PATIENCE, self.hear.message()).await;
        message.expect("the server answers in time").unwrap().expect("the stream is open").kind.unwrap()
    }

    async fn assigned(&mut self) -> Assignment {
        self.say(worker_message::Kind::Ready(Ready { credit: 1 })).await;
        match self.hear().await {
            server_message::Kind::Assign(mut assign) => assign.steps.remove(0),
            other => panic!("not an assignment: {other:?}"),
        }
    }

    async fn report(&mut self, step: &Assignment, outcome: &StepOutcome) {
        let outcome = serde_json::to_vec(outcome).unwrap();
        let report = Report { attempt: step.attempt.clone(), kind: Some(report::Kind::Outcome(outcome)) };
        self.say(worker_message::Kind::Reports(Reports { reports: vec![report] })).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_enrols_and_works_over_tcp() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    plant.publish(&three_steps()).await;
    let run = plant.run("three", json!({})).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    for _ in 0..3 {
        let step = wire.assigned().await;
        assert_eq!((step.namespace.as_str(), step.workflow.as_str()), ("test", "three"));
        assert!(step.grant.is_empty(), "a step without an identity has no grant");
        let output = serde_json::from_slice::<protocol::step::StepSpec>(&step.spec).unwrap();
        wire.report(&step, &outcome_of(&output)).await;
        assert!(matches!(wire.hear().await, server_message::Kind::Acknowledge(_)));
    }
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    let workers = plant.control.workers().await.unwrap();
    assert!(workers[0].connected && workers[0].slots == 16, "{workers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_begin_of_a_step_is_stored_while_it_runs() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    plant.publish(&three_steps()).await;
    let run = plant.run("three", json!({})).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    let step = wire.assigned().await;
    let progress = Progress { note: String::new(), started: true, sandbox: "namespace:7".to_owned() };
    let report = Report { attempt: step.attempt, kind: Some(report::Kind::Progress(progress)) };
    wire.say(worker_message::Kind::Reports(Reports { reports: vec![report] })).await;
    until("the begin is stored", async || {
        let steps = plant.durable.steps(run, None, 1).await.unwrap();
        steps[0].state == StepState::Started && steps[0].sandbox.as_deref() == Some("namespace:7")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused() {
    let (plant, mut client) = serve(|_| {}).await;
    let request = EnrolRequest { join_token: "guess".to_owned(), name: "w1".to_owned() };
    assert_eq!(client.enrol(request).await.unwrap_err().code(), Code::Unauthenticated);
    let credential = enrol(&plant, &mut client, "w1").await;
    let again = EnrolRequest { join_token: "join".to_owned(), name: "w1".to_owned() };
    assert_eq!(client.enrol(again.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    plant.clock.advance(60_001);
    let late = EnrolRequest { name: "w2".to_owned(), ..again };
    assert_eq!(client.enrol(late).await.unwrap_err().code(), Code::Unauthenticated, "the token has expired");
    for wrong in ["", "sgw_worker_guess", &credential[..credential.len() - 1]] {
        let empty = tokio_stream::empty();
        let refused = client.work(authorised(empty, wrong)).await.unwrap_err();
        assert_eq!(refused.code(), Code::Unauthenticated, "{wrong}");
    }
    let stored = plant.durable.workers().await.unwrap();
    assert!(!format!("{stored:?}").contains(&credential), "only the hash is stored");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hello_that_is_not_first_or_not_sound_ends_the_stream() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    let mut other_version = plain_hello();
    other_version.protocol = 2;
    let mut crowded = plain_hello();
    crowded.agents = vec!["x".to_owned(); 1000];
    let firsts = [
        worker_message::Kind::Ready(Ready { credit: 1 }),
        worker_message::Kind::Hello(other_version),
        worker_message::Kind::Hello(crowded),
    ];
    for first in firsts {
        let message = WorkerMessage { kind: Some(first) };
        let messages = tokio_stream::iter([message]);
        let mut hear = client.work(authorised(messages, &credential)).await.unwrap().into_inner();
        assert_eq!(hear.message().await.unwrap_err().code(), Code::InvalidArgument);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_an_identity_gets_a_grant_for_its_attempt_and_worker() {
    let (plant, mut client) = serve(|config| config.grant_key = Some(GrantKey::from_seed(SEED))).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    let execution = json!({ "execution": { "mode": "identity", "identity": "acme/reporting" } });
    let task = json!({ "run": { "shell": { "command": "true" } }, "metadata": execution });
    plant.publish(&document("secret", &json!([{ "query": task }]))).await;
    let run = plant.run("secret", json!({})).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    let step = wire.assigned().await;
    let verifier = GrantVerifier::new([SigningKey::from_seed(&SEED).public_key()]);
    let claims = verifier.verify(&step.grant, START.0 / 1000).unwrap();
    assert_eq!(claims.attempt, AttemptId::try_from(&step.attempt.unwrap()).unwrap());
    assert_eq!((claims.attempt.run, claims.attempt.attempt), (run, 1));
    assert_eq!((claims.identity.as_str(), claims.worker.as_str()), ("acme/reporting", "w1"));
    assert_eq!((claims.mode.as_str(), claims.sandbox.as_str()), ("2", "namespace"));
    assert!(claims.exp - claims.iat <= 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_with_an_identity_fails_where_no_grant_can_be_signed() {
    let (plant, _) = serve(|_| {}).await;
    let execution = json!({ "execution": { "mode": "identity", "identity": "acme/reporting" } });
    let task = json!({ "run": { "shell": { "command": "true" } }, "metadata": execution });
    plant.publish(&document("secret", &json!([{ "query": task }]))).await;
    let run = plant.run("secret", json!({})).await;
    assert_eq!(plant.ended(run).await, RunStatus::Faulted);
    assert!(plant.error(run).await["detail"].as_str().unwrap().contains("grant key"));
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_followed_live_and_kept_once() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    plant.publish(&document("one", &json!([{ "one": { "call": "noop", "with": { "n": 1 } } }]))).await;
    let run = plant.run("one", json!({})).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    let step = wire.assigned().await;
    let chunk = |sequence: u64, text: &str| LogChunk {
        attempt: step.attempt.clone(),
        stream: 1,
        sequence,
        time: START.0,
        data: text.as_bytes().to_vec(),
    };
    let mut live = plant.control.tail_logs(run, None, None, true).await.unwrap();
    for _ in 0..2 {
        // A worker that connects again sends what it is not sure of again.
        let chunks = vec![chunk(0, "first\n"), chunk(1, "second\n")];
        wire.say(worker_message::Kind::Logs(Logs { chunks })).await;
    }
    let text = |entry: LogEntry| String::from_utf8(entry.data.to_vec()).unwrap();
    for expected in ["first\n", "second\n"] {
        let entry = tokio::time::timeout(PATIENCE, live.next()).await.unwrap().unwrap().unwrap();
        assert_eq!(text(entry), expected);
    }
    wire.report(&step, &StepOutcome::Completed { output: json!(null), artifacts: Vec::new() }).await;
    assert!(tokio::time::timeout(PATIENCE, live.next()).await.unwrap().is_none(), "the run has ended");
    let stored = plant.control.tail_logs(run, None, None, false).await.unwrap();
    let stored: Vec<String> = stored.map(|entry| text(entry.unwrap())).collect().await;
    assert_eq!(stored, ["first\n", "second\n"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_have_a_limit_and_say_so() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    plant.publish(&document("one", &json!([{ "one": { "call": "noop", "with": { "n": 1 } } }]))).await;
    let run = plant.run("one", json!({})).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    let step = wire.assigned().await;
    for sequence in 0..70 {
        let data = vec![b'x'; control::logs::LOG_CHUNK_LIMIT_BYTES];
        let attempt = step.attempt.clone();
        let chunk = LogChunk { attempt, stream: 1, sequence, time: START.0, data };
        wire.say(worker_message::Kind::Logs(Logs { chunks: vec![chunk] })).await;
    }
    wire.report(&step, &StepOutcome::Completed { output: json!(null), artifacts: Vec::new() }).await;
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    until("the note is stored", async || {
        let stored = plant.control.tail_logs(run, None, None, false).await.unwrap();
        let stored: Vec<LogEntry> = stored.map(Result::unwrap).collect().await;
        stored.len() == 65 && String::from_utf8_lossy(&stored[64].data).contains("more than 16 MiB")
    })
    .await;

    let oversized = LogChunk { attempt: step.attempt, data: vec![0; 300 << 10], ..LogChunk::default() };
    wire.say(worker_message::Kind::Logs(Logs { chunks: vec![oversized] })).await;
    loop {
        match wire.hear.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the stream ends with a reason"),
            Err(status) => {
                assert_eq!(status.code(), Code::InvalidArgument, "{status}");
                break;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn blobs_go_up_and_down() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    let content: Vec<u8> = (0..700_000u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
    let chunks: Vec<BlobChunk> =
        content.chunks(100_000).map(|data| BlobChunk { data: data.to_vec() }).collect();
    let put =
        client.put_blob(authorised(tokio_stream::iter(chunks), &credential)).await.unwrap().into_inner();
    assert_eq!(put.size, 700_000);
    let request = GetBlobRequest { sha256: put.sha256.clone() };
    let mut parts = client.get_blob(authorised(request, &credential)).await.unwrap().into_inner();
    let mut read = Vec::new();
    while let Some(part) = parts.message().await.unwrap() {
        read.extend_from_slice(&part.data);
    }
    assert_eq!(read, content);
    let unknown = GetBlobRequest { sha256: "0".repeat(64) };
    assert_eq!(client.get_blob(authorised(unknown, &credential)).await.unwrap_err().code(), Code::NotFound);
    let stranger = Request::new(GetBlobRequest { sha256: put.sha256 });
    assert_eq!(client.get_blob(stranger).await.unwrap_err().code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_a_step_is_there_when_its_end_is_seen() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    plant.publish(&document("one", &json!([{ "one": { "call": "noop", "with": { "n": 1 } } }]))).await;
    let run = plant.run("one", json!({})).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    let step = wire.assigned().await;
    for sequence in 0..3 {
        let attempt = step.attempt.clone();
        let chunk = LogChunk { attempt, stream: 1, sequence, time: START.0, data: b"line\n".to_vec() };
        wire.say(worker_message::Kind::Logs(Logs { chunks: vec![chunk] })).await;
    }
    wire.report(&step, &StepOutcome::Completed { output: json!(null), artifacts: Vec::new() }).await;
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    let stored = plant.control.tail_logs(run, None, None, false).await.unwrap();
    assert_eq!(stored.count().await, 3, "nothing of it is on its way");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_that_was_not_stored_fails_its_step() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    plant.publish(&document("one", &json!([{ "one": { "call": "noop", "with": { "n": 1 } } }]))).await;
    let mut wire = Wire::open(&mut client, &credential).await;
    let content = authorised(tokio_stream::iter([BlobChunk { data: b"report".to_vec() }]), &credential);
    let stored = client.put_blob(content).await.unwrap().into_inner();
    let never = "0".repeat(64);
    for (sha256, size, expected) in [
        (stored.sha256.clone(), stored.size, RunStatus::Completed),
        (stored.sha256.clone(), stored.size + 1, RunStatus::Faulted),
        (never, 6, RunStatus::Faulted),
        ("no hash".to_owned(), 6, RunStatus::Faulted),
    ] {
        let run = plant.run("one", json!({})).await;
        let step = wire.assigned().await;
        let artifacts = vec![protocol::step::Artifact { path: "report.md".to_owned(), size, sha256 }];
        wire.report(&step, &StepOutcome::Completed { output: json!(null), artifacts }).await;
        assert!(matches!(wire.hear().await, server_message::Kind::Acknowledge(_)));
        assert_eq!(plant.ended(run).await, expected);
        if expected == RunStatus::Faulted {
            let error = plant.error(run).await;
            assert!(error["detail"].as_str().unwrap().contains("report.md"), "{error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_whose_credential_another_process_uses_is_told_so() {
    let (plant, mut client) = serve(|_| {}).await;
    let credential = enrol(&plant, &mut client, "w1").await;
    let mut first = Wire::open(&mut client, &credential).await;
    let _second = Wire::open(&mut client, &credential).await;
    let told = tokio::time::timeout(PATIENCE, first.hear.message()).await.expect("it is told");
    let status = told.expect_err("its stream ends with a reason");
    assert_eq!(status.code(), Code::AlreadyExists, "{status}");
    assert!(status.message().contains("a credential of its own"), "{status}");
}
