//! A broker in a temporary folder, an enrolled worker, a trusted server, and a guest.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use identity::admin::Client;
use identity::broker::problem::Problem;
use identity::broker::{self, BrokerConfig, Ready};
use identity::builtin::Expect;
use identity::policy::Policy;
use protocol::broker::{GrantClaims, KeepRequest, KeepResponse, OpenRequest, OpenResponse, ReleaseRequest};
use protocol::id::{AttemptId, RunId, StepId};
use seal::grant::{BROKER_AUDIENCE, GrantSigner};
use seal::{GuestKey, PublicKey, SigningKey, worker_token};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

pub(crate) const DATABASE_URL: &[u8] = b"postgres://app:canary-7f3a@db/acme";

/// A broker's folder that only this user may enter.
pub(crate) fn folder() -> tempfile::TempDir {
    let private = std::fs::Permissions::from_mode(0o700);
    let folder = tempfile::Builder::new().permissions(private).tempdir().unwrap();
    broker::init(folder.path(), None, |_| Ok::<_, ()>(())).unwrap();
    folder
}

/// A running broker.
pub(crate) struct Running {
    pub(crate) ready: Ready,
    pub(crate) client: Client,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), broker::ServeError>>,
}

impl Running {
    pub(crate) async fn start(folder: &Path) -> Self {
        let (ready_sender, ready) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let config = BrokerConfig::in_folder(folder);
        let task = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            broker::serve(config, |ready| ready_sender.send(ready).unwrap(), stopped).await
        });
        let Ok(ready) = ready.await else { panic!("{:?}", task.await) };
        Running { ready, client: Client::in_folder(folder), stop, task }
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.task.await.unwrap().unwrap();
    }

    pub(crate) fn worker(&self) -> Worker {
        Worker { broker: self.ready.worker_address, key: worker_key(), name: "worker-1".into() }
    }

    pub(crate) fn broker_key(&self) -> PublicKey {
        PublicKey::from_text(&self.ready.broker_key).unwrap()
    }

    /// Enrols the worker, trusts the server, sets `acme-prod` with two secrets, a setting and the view `reporting`.
    pub(crate) async fn set_up(&self) {
        self.client.enrol_worker("worker-1", &worker_key().public_key().to_string()).await.unwrap();
        self.client.trust_server("server-1", &server().public_key().to_string()).await.unwrap();
        let acme = "acme-prod".parse().unwrap();
        self.client.create(&acme, &Policy::for_namespace("acme")).await.unwrap();
        for (key, secret, value) in [
            ("DATABASE_URL", true, DATABASE_URL),
            ("API_KEY", true, b"key-1234567"),
            ("REGION", false, b"eu-central-1"),
        ] {
            let value = Zeroizing::new(value.to_vec());
            self.client.set(&acme, &key.parse().unwrap(), secret, Expect::New, &value).await.unwrap();
        }
        let keys = ["DATABASE_URL".parse().unwrap(), "REGION".parse().unwrap()];
        self.client.set_view(&acme, &"reporting".parse().unwrap(), &keys).await.unwrap();
    }
}

pub(crate) fn worker_key() -> SigningKey {
    SigningKey::from_seed(&[11; 32])
}

pub(crate) fn server() -> GrantSigner {
    GrantSigner::new(SigningKey::from_seed(&[12; 32]))
}

pub(crate) fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    since.as_secs() as i64
}

pub(crate) fn attempt() -> AttemptId {
    AttemptId { run: RunId(uuid::Uuid::from_u128(7)), step: StepId(3), attempt: 1 }
}

pub(crate) fn claims(identity: &str) -> GrantClaims {
    GrantClaims {
        iss: "server-1".into(),
        aud: BROKER_AUDIENCE.into(),
        jti: uuid::Uuid::now_v7().to_string(),
        iat: now(),
        exp: now() + 300,
        attempt: attempt(),
        namespace: "acme".into(),
        workflow: "weekly-report".into(),
        version: "1.0.0".into(),
        identity: identity.into(),
        mode: "2".into(),
        worker: "worker-1".into(),
        sandbox: "namespace".into(),
        image: None,
    }
}

/// A worker as the broker sees it.
pub(crate) struct Worker {
    pub(crate) broker: SocketAddr,
    pub(crate) key: SigningKey,
    pub(crate) name: String,
}

impl Worker {
    pub(crate) async fn open(&self, grant: &str, guest: &GuestKey) -> Result<OpenResponse, Problem> {
        let token = worker_token::sign(&self.key, &self.name, &guest.public_bytes(), grant, now());
        self.open_with(&token, grant, guest).await
    }

    pub(crate) async fn open_with(
        &self,
        token: &str,
        grant: &str,
        guest: &GuestKey,
    ) -> Result<OpenResponse, Problem> {
        use base64ct::{Base64UrlUnpadded, Encoding};
        let guest_key = Base64UrlUnpadded::encode_string(&guest.public_bytes());
        let body =
            post(self.broker, "/v1/open", token, &OpenRequest { grant: grant.into(), guest_key }).await?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn keep(&self, jtis: &[String]) -> Result<KeepResponse, Problem> {
        let token = worker_token::sign_keep(&self.key, &self.name, jtis, now());
        let body = post(self.broker, "/v1/keep", &token, &KeepRequest { grants: jtis.to_vec() }).await?;
        Ok(serde_json::from_slice(&body).unwrap())
    }

    pub(crate) async fn release(&self, jti: &str) -> Result<(), Problem> {
        let token = worker_token::sign_release(&self.key, &self.name, jti, now());
        post(self.broker, "/v1/release", &token, &ReleaseRequest { grant: jti.into() }).await.map(drop)
    }
}

/// `POST` with a bearer token: the body, or the problem.
pub(crate) async fn post<T: Serialize>(
    to: SocketAddr,
    path: &str,
    token: &str,
    body: &T,
) -> Result<Bytes, Problem> {
    try_post(to, path, token, body).await.expect("the broker answers")
}

/// As [`post`]; `None` where the connection breaks.
pub(crate) async fn try_post<T: Serialize>(
    to: SocketAddr,
    path: &str,
    token: &str,
    body: &T,
) -> Option<Result<Bytes, Problem>> {
    let stream = TcpStream::connect(to).await.ok()?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.ok()?;
    let connection = tokio::spawn(connection);
    let request = hyper::Request::post(path)
        .header("host", "broker")
        .header("authorization", format!("Bearer {token}"))
        .body(Full::new(Bytes::from(serde_json::to_vec(body).unwrap())))
        .unwrap();
    let answer = sender.send_request(request).await.ok()?;
    let status = answer.status();
    let body = answer.into_body().collect().await.ok()?.to_bytes();
    connection.abort();
    Some(if status.is_success() { Ok(body) } else { Err(problem(&body)) })
}

fn problem<T: DeserializeOwned>(body: &[u8]) -> T {
    serde_json::from_slice(body).expect("a refusal is a problem document")
}

/// The code at the end of a problem's type.
pub(crate) fn code<T>(answer: Result<T, Problem>) -> String {
    let problem = answer.err().expect("must be refused");
    problem.kind.rsplit(':').next().unwrap().to_owned()
}

/// All of a folder's files, joined.
pub(crate) fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file()).map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}
