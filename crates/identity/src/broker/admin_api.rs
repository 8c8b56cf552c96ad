//! The admin API on the broker's Unix socket: who may connect, and each route. [`crate::admin`] is its contract. Every change is
//! recorded in the audit trail before it is made.

use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixListener;
use zeroize::Zeroizing;

use super::core::Broker;
use super::harden::Layer;
use super::problem::Problem;
use super::serve::now_ms;
use super::trust::{Party, TrustError};
use crate::admin::wire;
use crate::advice::advise;
use crate::audit::log::MAX_LINE_BYTES;
use crate::audit::record::Change;
use crate::audit::verify::verify_folder;
use crate::audit::{AuditReport, Checkpoint, Event, Line};
use crate::backend::{BackendError, IdentityBackend};
use crate::builtin::format::Revocation;
use crate::builtin::{BuiltinError, Expect};
use crate::policy::Policy;
use crate::reference::{IdentityName, KeyName, ViewName};

/// Longest request body, bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;
/// Most lines of one page of the audit trail.
const MAX_PAGE_LINES: usize = 1000;
/// Longest reason of a revocation, bytes.
const MAX_REASON_BYTES: usize = 1024;

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) broker: Arc<Broker>,
    pub(crate) folder: PathBuf,
    pub(crate) layers: Arc<Vec<Layer>>,
}

/// The user at the other end of the socket; the kernel says so (SO_PEERCRED).
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Self {
        Peer { uid: stream.io().peer_cred().ok().map(|credentials| credentials.uid()) }
    }
}

/// The user id of an operator who was let in.
#[derive(Clone, Copy)]
struct Operator(u32);

impl<S: Sync> FromRequestParts<S> for Operator {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Operator>().copied().ok_or_else(|| {
            let detail = "only the broker's own user and root may use this socket".to_owned();
            Problem::new(StatusCode::FORBIDDEN, "operator", "Not the operator", detail, false)
        })
    }
}

pub(crate) fn router(admin: Admin) -> Router {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/identities", get(list))
        .route("/v1/identities/{name}", get(show).put(create).delete(remove))
        .route("/v1/identities/{name}/keys/{key}", put(set).delete(remove_key))
        .route("/v1/identities/{name}/views/{view}", put(set_view).delete(remove_view))
        .route("/v1/identities/{name}/policy", put(set_policy))
        .route("/v1/identities/{name}/revoke", post(revoke))
        .route("/v1/identities/{name}/restore", post(restore))
        .route("/v1/data-key/rotate", post(rotate_data_key))
        .route("/v1/workers", get(async |admin| parties(admin, Party::Worker)))
        .route("/v1/servers", get(async |admin| parties(admin, Party::Server)))
        .route("/v1/workers/{name}", put(enrol_worker).delete(remove_worker))
        .route("/v1/servers/{name}", put(trust_server).delete(remove_server))
        .route("/v1/audit", get(audit))
        .route("/v1/audit/verify", post(verify_audit))
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(middleware::from_fn(admit))
        .with_state(admin)
}

/// Lets in the broker's own user and root, whatever the socket's mode has become.
async fn admit(
    ConnectInfo(peer): ConnectInfo<Peer>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    match peer.uid {
        Some(uid) if uid == 0 || uid == rustix::process::geteuid().as_raw() => {
            request.extensions_mut().insert(Operator(uid));
        }
        uid => tracing::warn!(?uid, "a stranger at the admin socket"),
    }
    let (mut parts, body) = request.into_parts();
    Operator::from_request_parts(&mut parts, &()).await?;
    Ok(next.run(Request::from_parts(parts, body)).await)
}

async fn status(State(admin): State<Admin>) -> Json<wire::Status> {
    let builtin = &admin.broker.builtin;
    Json(wire::Status {
        broker_key: admin.broker.public_key().to_string(),
        file_counter: builtin.counter(),
        recipients: builtin.recipients(),
        layers: admin.layers.to_vec(),
    })
}

async fn list(State(admin): State<Admin>) -> Result<Json<Vec<wire::IdentitySummary>>, Problem> {
    let builtin = &admin.broker.builtin;
    let mut summaries = Vec::new();
    for name in builtin.list().await.map_err(backend_problem)? {
        let description = builtin.describe(&name).await.map_err(backend_problem)?;
        let (_, revoked) = builtin.guard(&name).map_err(builtin_problem)?;
        summaries.push(wire::IdentitySummary {
            name,
            keys: description.keys.len(),
            views: description.views.into_iter().map(|view| view.name).collect(),
            revoked: revoked.is_some(),
        });
    }
    Ok(Json(summaries))
}

async fn show(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<wire::IdentityDetail>, Problem> {
    let name: IdentityName = parse(&name)?;
    let description = admin.broker.builtin.describe(&name).await.map_err(backend_problem)?;
    let (policy, revoked) = admin.broker.builtin.guard(&name).map_err(builtin_problem)?;
    Ok(Json(wire::IdentityDetail { description, policy, revoked, holders: admin.broker.holders(&name) }))
}

async fn create(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let (name, policy): (IdentityName, Policy) = (parse(&name)?, json(&body)?);
    policy.check().map_err(malformed)?;
    let detail = Some(text_of(&policy));
    admin
        .change(operator, "create", name.to_string(), detail, move |broker| {
            broker.builtin.create_identity(&name, policy)
        })
        .await
}

async fn remove(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let name: IdentityName = parse(&name)?;
    admin
        .change(operator, "remove", name.to_string(), None, move |broker| {
            broker.builtin.remove_identity(&name)
        })
        .await
}

/// Query of a value that is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SetQuery {
    secret: bool,
    expect: Expect,
}

async fn set(
    State(admin): State<Admin>,
    operator: Operator,
    Path((name, key)): Path<(String, String)>,
    Query(query): Query<SetQuery>,
    body: Bytes,
) -> Result<Json<wire::SetAnswer>, Problem> {
    let (name, key): (IdentityName, KeyName) = (parse(&name)?, parse(&key)?);
    let value = Zeroizing::new(body.to_vec());
    drop(body);
    let advice = if query.secret { advise(&value) } else { vec![] };
    let action = if query.expect == Expect::Existing { "rotate" } else { "set" };
    let kind = if query.secret { "secret" } else { "setting" };
    let version = admin
        .make(operator, action, format!("{name} {key}"), Some(kind.into()), move |broker| {
            broker.builtin.set(&name, &key, query.secret, query.expect, value, now_ms())
        })
        .await?;
    Ok(Json(wire::SetAnswer { version, advice }))
}

async fn remove_key(
    State(admin): State<Admin>,
    operator: Operator,
    Path((name, key)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (name, key): (IdentityName, KeyName) = (parse(&name)?, parse(&key)?);
    let subject = format!("{name} {key}");
    admin
        .change(operator, "remove", subject, None, move |broker| broker.builtin.remove_key(&name, &key))
        .await
}

async fn set_view(
    State(admin): State<Admin>,
    operator: Operator,
    Path((name, view)): Path<(String, String)>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let (name, view): (IdentityName, ViewName) = (parse(&name)?, parse(&view)?);
    let keys: Vec<KeyName> = json(&body)?;
    let (subject, detail) = (format!("{name}/{view}"), Some(text_of(&keys)));
    admin
        .change(operator, "view", subject, detail, move |broker| broker.builtin.set_view(&name, &view, &keys))
        .await
}

async fn remove_view(
    State(admin): State<Admin>,
    operator: Operator,
    Path((name, view)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let (name, view): (IdentityName, ViewName) = (parse(&name)?, parse(&view)?);
    let subject = format!("{name}/{view}");
    admin
        .change(operator, "remove", subject, None, move |broker| broker.builtin.remove_view(&name, &view))
        .await
}

async fn set_policy(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let (name, policy): (IdentityName, Policy) = (parse(&name)?, json(&body)?);
    policy.check().map_err(malformed)?;
    let detail = Some(text_of(&policy));
    admin
        .change(operator, "policy", name.to_string(), detail, move |broker| {
            broker.builtin.set_policy(&name, policy)
        })
        .await
}

async fn revoke(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<wire::RevokeAnswer>, Problem> {
    let name: IdentityName = parse(&name)?;
    let reason = json::<wire::RevokeRequest>(&body)?.reason;
    if reason.len() > MAX_REASON_BYTES {
        return Err(malformed("the reason is longer than 1024 bytes"));
    }
    let (subject, detail) = (name.to_string(), Some(reason.clone()));
    let revoked = name.clone();
    admin
        .change(operator, "revoke", subject, detail, move |broker| {
            broker.builtin.set_revoked(&revoked, Some(Revocation { since_ms: now_ms(), reason }))
        })
        .await?;
    Ok(Json(wire::RevokeAnswer { holders: admin.broker.holders(&name) }))
}

async fn restore(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let name: IdentityName = parse(&name)?;
    admin
        .change(operator, "restore", name.to_string(), None, move |broker| {
            broker.builtin.set_revoked(&name, None)
        })
        .await
}

async fn rotate_data_key(
    State(admin): State<Admin>,
    operator: Operator,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let request: wire::RotateRequest = json(&body)?;
    let recipients = request.recipients.unwrap_or_else(|| admin.broker.builtin.recipients());
    let detail = Some(text_of(&recipients));
    let rotate = move |broker: &Broker| broker.builtin.rotate_data_key(&recipients);
    admin.change(operator, "rotate-data-key", "identities.json".into(), detail, rotate).await
}

fn parties(State(admin): State<Admin>, party: Party) -> Json<Vec<wire::Party>> {
    let trust = admin.broker.trust.read().expect("no holder of this lock panics");
    let parties = trust.list(party).iter().map(|(name, enrolled)| wire::Party {
        name: name.clone(),
        key: enrolled.key.clone(),
        since_ms: enrolled.since_ms,
    });
    Json(parties.collect())
}

async fn enrol_worker(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    enrol(admin, operator, Party::Worker, name, &body).await
}

async fn trust_server(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    enrol(admin, operator, Party::Server, name, &body).await
}

async fn remove_worker(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
) -> Result<StatusCode, Problem> {
    expel(admin, operator, Party::Worker, name).await
}

async fn remove_server(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
) -> Result<StatusCode, Problem> {
    expel(admin, operator, Party::Server, name).await
}

async fn enrol(
    State(admin): State<Admin>,
    operator: Operator,
    party: Party,
    Path(name): Path<String>,
    body: &[u8],
) -> Result<StatusCode, Problem> {
    let key = json::<wire::EnrolRequest>(body)?.key;
    let news = {
        let trust = admin.broker.trust.read().expect("no holder of this lock panics");
        trust.check_enrol(party, &name, &key).map_err(trust_problem)?
    };
    if !news {
        return Ok(StatusCode::NO_CONTENT);
    }
    let action = match party {
        Party::Worker => "enrol-worker",
        Party::Server => "trust-server",
    };
    let (subject, detail) = (name.clone(), Some(key.clone()));
    let enrol = move |broker: &Broker| {
        broker.trust.write().expect("no holder of this lock panics").enrol(party, &name, &key, now_ms())
    };
    admin.change(operator, action, subject, detail, enrol).await
}

async fn expel(
    State(admin): State<Admin>,
    operator: Operator,
    party: Party,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let action = match party {
        Party::Worker => "remove-worker",
        Party::Server => "remove-server",
    };
    let subject = name.clone();
    let expel = move |broker: &Broker| {
        broker.trust.write().expect("no holder of this lock panics").remove(party, &name)
    };
    admin.change(operator, action, subject, None, expel).await
}

/// Query of a page of the trail.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuditQuery {
    #[serde(default)]
    offset: u64,
}

async fn audit(
    State(admin): State<Admin>,
    Query(query): Query<AuditQuery>,
) -> Result<Json<wire::AuditPage>, Problem> {
    blocking(move || read_page(&admin, query.offset)).await?.map(Json)
}

fn read_page(admin: &Admin, offset: u64) -> Result<wire::AuditPage, Problem> {
    let unreadable = |error: std::io::Error| internal(format!("the audit trail cannot be read: {error}"));
    let mut file = std::fs::File::open(admin.folder.join("audit.jsonl")).map_err(unreadable)?;
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut reader = BufReader::new(file);
    let mut page = wire::AuditPage { lines: vec![], next_offset: offset, end: false };
    while page.lines.len() < MAX_PAGE_LINES {
        let mut bytes = Vec::new();
        (&mut reader).take(MAX_LINE_BYTES as u64 + 1).read_until(b'\n', &mut bytes).map_err(unreadable)?;
        if bytes.last() != Some(&b'\n') {
            page.end = true;
            break;
        }
        let line: Line = serde_json::from_slice(&bytes).map_err(|_| {
            internal(format!("the audit trail is damaged near byte {}: verify it", page.next_offset))
        })?;
        page.next_offset += bytes.len() as u64;
        page.lines.push(line);
    }
    Ok(page)
}

async fn verify_audit(State(admin): State<Admin>, body: Bytes) -> Result<Json<AuditReport>, Problem> {
    let kept: Option<Checkpoint> = json(&body)?;
    let verified =
        blocking(move || verify_folder(&admin.folder, &admin.broker.public_key(), kept.as_ref())).await?;
    let title = "The audit trail does not hold together";
    verified.map(Json).map_err(|fault| {
        Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "audit-fault", title, fault.to_string(), false)
    })
}

impl Admin {
    async fn change<E: Into<AdminFault> + Send + 'static>(
        &self,
        operator: Operator,
        action: &str,
        subject: String,
        detail: Option<String>,
        change: impl FnOnce(&Broker) -> Result<(), E> + Send + 'static,
    ) -> Result<StatusCode, Problem> {
        self.make(operator, action, subject, detail, change).await.map(|()| StatusCode::NO_CONTENT)
    }

    /// Records the change, makes it, and records it if it failed.
    async fn make<T: Send + 'static, E: Into<AdminFault> + Send + 'static>(
        &self,
        operator: Operator,
        action: &str,
        subject: String,
        detail: Option<String>,
        change: impl FnOnce(&Broker) -> Result<T, E> + Send + 'static,
    ) -> Result<T, Problem> {
        let event = Event::Changed {
            operator_uid: operator.0,
            change: Change { action: action.into(), subject: subject.clone(), detail },
        };
        let recorded = self.broker.journal.record(None, event).await;
        let seq = recorded
            .map_err(|_| internal("the audit trail cannot be written, so nothing was changed".into()))?;
        let broker = self.broker.clone();
        match blocking(move || change(&broker)).await? {
            Ok(made) => {
                tracing::info!(action, subject, operator_uid = operator.0, "changed");
                Ok(made)
            }
            Err(error) => {
                let AdminFault(problem) = error.into();
                let event = Event::ChangeFailed { seq, reason: problem.detail.clone() };
                let _ = self.broker.journal.record(None, event).await;
                Err(problem)
            }
        }
    }
}

/// A failed change as a problem.
struct AdminFault(Problem);

impl From<BuiltinError> for AdminFault {
    fn from(error: BuiltinError) -> Self {
        AdminFault(builtin_problem(error))
    }
}

impl From<TrustError> for AdminFault {
    fn from(error: TrustError) -> Self {
        AdminFault(trust_problem(error))
    }
}

fn builtin_problem(error: BuiltinError) -> Problem {
    let detail = chain(&error);
    match error {
        BuiltinError::NotFound(_) => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, false)
        }
        BuiltinError::Exists(_) => {
            Problem::new(StatusCode::CONFLICT, "exists", "Exists already", detail, false)
        }
        BuiltinError::Payload(_)
        | BuiltinError::Policy(_)
        | BuiltinError::Limit(_)
        | BuiltinError::Unlock(_) => malformed(detail),
        _ => internal(detail),
    }
}

fn trust_problem(error: TrustError) -> Problem {
    let detail = chain(&error);
    match error {
        TrustError::NotFound(_) => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, false)
        }
        TrustError::Exists(_) => {
            Problem::new(StatusCode::CONFLICT, "exists", "Exists already", detail, false)
        }
        TrustError::Key(_) | TrustError::Name | TrustError::Full => malformed(detail),
        TrustError::Disk(_) | TrustError::Malformed(_) => internal(detail),
    }
}

fn backend_problem(error: BackendError) -> Problem {
    let detail = chain(&error);
    match error {
        BackendError::NotFound(_) => {
            Problem::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail, false)
        }
        _ => internal(detail),
    }
}

fn malformed(detail: impl ToString) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "malformed", "Malformed request", detail.to_string(), false)
}

fn internal(detail: String) -> Problem {
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "The broker failed", detail, false)
}

/// The error and its causes: the operator may know them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| internal("the change did not end; see the broker's log".into()))
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, Problem> {
    text.parse().map_err(malformed)
}

fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| malformed(format!("the body is refused: {error}")))
}

fn text_of<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_default()
}
