//! The admin API on the broker's Unix socket: who may connect, and each route. [`crate::admin`] is its contract. Every change is
//! recorded in the audit trail before it is made.

mod audit;
mod change;
mod identities;
mod parties;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::connect_info::Connected;
use axum::extract::{ConnectInfo, DefaultBodyLimit, FromRequestParts, Request};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post, put};
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

use super::core::Broker;
use super::harden::Layer;
use super::problem::Problem;
use super::trust::Party;

/// Longest request body, bytes.
pub(crate) const MAX_BODY_BYTES: usize = 1024 * 1024;

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
    use identities as of;
    Router::new()
        .route("/v1/status", get(of::status))
        .route("/v1/identities", get(of::list))
        .route("/v1/stores", get(of::stores))
        .route("/v1/identities/{name}", get(of::show).put(of::create).delete(of::remove))
        .route("/v1/identities/{name}/keys/{key}", put(of::set).delete(of::remove_key))
        .route("/v1/identities/{name}/views/{view}", put(of::set_view).delete(of::remove_view))
        .route("/v1/identities/{name}/policy", put(of::set_policy))
        .route("/v1/identities/{name}/revoke", post(of::revoke))
        .route("/v1/identities/{name}/restore", post(of::restore))
        .route("/v1/data-key/rotate", post(of::rotate_data_key))
        .route("/v1/workers", get(async |admin| parties::list(admin, Party::Worker)))
        .route("/v1/servers", get(async |admin| parties::list(admin, Party::Server)))
        .route("/v1/workers/{name}", put(parties::enrol_worker).delete(parties::remove_worker))
        .route("/v1/servers/{name}", put(parties::trust_server).delete(parties::remove_server))
        .route("/v1/audit", get(audit::page))
        .route("/v1/audit/verify", post(audit::verify))
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
