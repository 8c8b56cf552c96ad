//! Identities, keys, views, policies, revocation.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::change::{backend_problem, builtin_problem, chain, json, malformed, parse, text_of};
use super::{Admin, Operator};
use crate::admin::wire;
use crate::advice::advise;
use crate::backend::{BackendError, IdentityBackend};
use crate::broker::core::Broker;
use crate::broker::problem::Problem;
use crate::broker::serve::now_ms;
use crate::builtin::Expect;
use crate::builtin::format::{Guard, Revocation};
use crate::policy::Policy;
use crate::reference::{IdentityName, IdentityRef, KeyName, Scheme, ViewName};

/// Longest reason of a revocation, bytes.
const MAX_REASON_BYTES: usize = 1024;

pub(super) async fn status(State(admin): State<Admin>) -> Json<wire::Status> {
    let builtin = &admin.broker.builtin;
    Json(wire::Status {
        broker_key: admin.broker.public_key().to_string(),
        file_counter: builtin.counter(),
        recipients: builtin.recipients(),
        layers: admin.layers.to_vec(),
    })
}

/// The identities of the builtin file, then those elsewhere that have a policy; the stores' own are listed by `stores`.
pub(super) async fn list(State(admin): State<Admin>) -> Result<Json<Vec<wire::IdentitySummary>>, Problem> {
    let builtin = &admin.broker.builtin;
    let mut summaries = Vec::new();
    for path in builtin.list().await.map_err(backend_problem)? {
        let description = builtin.describe(&path).await.map_err(backend_problem)?;
        let revoked = builtin.guard(&description.name).map_err(builtin_problem)?.revoked;
        summaries.push(wire::IdentitySummary {
            keys: Some(description.keys.len()),
            views: description.views.into_iter().map(|view| view.name).collect(),
            name: description.name,
            revoked: revoked.is_some(),
        });
    }
    for name in builtin.guarded() {
        let revoked = builtin.guard(&name).map_err(builtin_problem)?.revoked;
        summaries.push(wire::IdentitySummary { name, keys: None, views: vec![], revoked: revoked.is_some() });
    }
    Ok(Json(summaries))
}

/// What each identity backend lists, or why it cannot.
pub(super) async fn stores(State(admin): State<Admin>) -> Json<Vec<wire::StoreListing>> {
    let mut listings = Vec::new();
    for backend in admin.broker.backends.all().filter(|backend| backend.scheme() != Scheme::Builtin) {
        let listed = backend.list().await.and_then(|paths| {
            let identity = |path| IdentityRef::new(backend.scheme(), path);
            paths
                .into_iter()
                .map(identity)
                .collect::<Result<_, _>>()
                .map_err(|error| BackendError::Corrupt(error.to_string()))
        });
        let (identities, problem) = match listed {
            Ok(identities) => (identities, None),
            Err(error) => (vec![], Some(chain(&error))),
        };
        let capabilities = backend.capabilities();
        listings.push(wire::StoreListing {
            store: backend.scheme().to_string(),
            capabilities,
            identities,
            problem,
        });
    }
    Json(listings)
}

pub(super) async fn show(
    State(admin): State<Admin>,
    Path(name): Path<String>,
) -> Result<Json<wire::IdentityDetail>, Problem> {
    let name: IdentityRef = parse(&name)?;
    let backend = admin.broker.backends.of(name.scheme()).map_err(backend_problem)?;
    let description = backend.describe(name.path()).await.map_err(backend_problem)?;
    let Guard { policy, revoked } = admin.broker.builtin.guard(&name).map_err(builtin_problem)?;
    Ok(Json(wire::IdentityDetail { description, policy, revoked, holders: admin.broker.holders(&name) }))
}

pub(super) async fn create(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let name: IdentityName = parse(&name)?;
    let (policy, detail) = policy_of(&body)?;
    admin
        .change(operator, "create", name.to_string(), detail, move |broker| {
            broker.builtin.create_identity(&name, policy)
        })
        .await
}

pub(super) async fn remove(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let name: IdentityRef = parse(&name)?;
    admin
        .change(operator, "remove", name.to_string(), None, move |broker| match name.builtin_name() {
            Some(name) => broker.builtin.remove_identity(&name),
            None => broker.builtin.remove_guard(&name),
        })
        .await
}

/// Query of a value that is set.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SetQuery {
    secret: bool,
    expect: Expect,
}

pub(super) async fn set(
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

pub(super) async fn remove_key(
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

pub(super) async fn set_view(
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

pub(super) async fn remove_view(
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

pub(super) async fn set_policy(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    let name: IdentityRef = parse(&name)?;
    let (policy, detail) = policy_of(&body)?;
    if !admin.broker.backends.all().any(|backend| backend.scheme() == name.scheme()) {
        return Err(backend_problem(BackendError::NotConfigured(name.scheme())));
    }
    admin
        .change(operator, "policy", name.to_string(), detail, move |broker| {
            broker.builtin.set_policy(&name, policy)
        })
        .await
}

/// A policy within its limits, and how it is recorded.
fn policy_of(body: &[u8]) -> Result<(Policy, Option<String>), Problem> {
    let policy: Policy = json(body)?;
    policy.check().map_err(malformed)?;
    let detail = Some(text_of(&policy));
    Ok((policy, detail))
}

pub(super) async fn revoke(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
    body: Bytes,
) -> Result<Json<wire::RevokeAnswer>, Problem> {
    let name: IdentityRef = parse(&name)?;
    let wire::RevokeRequest { reason, hard } = json(&body)?;
    if reason.len() > MAX_REASON_BYTES {
        return Err(malformed("the reason is longer than 1024 bytes"));
    }
    let (subject, detail) = (name.to_string(), Some(reason.clone()));
    let revoked = name.clone();
    admin
        .change(operator, if hard { "revoke-hard" } else { "revoke" }, subject, detail, move |broker| {
            broker.builtin.set_revoked(&revoked, Some(Revocation { since_ms: now_ms(), reason }))
        })
        .await?;
    let holders = if hard { admin.broker.take_from_holders(&name) } else { admin.broker.holders(&name) };
    Ok(Json(wire::RevokeAnswer { holders }))
}

pub(super) async fn restore(
    State(admin): State<Admin>,
    operator: Operator,
    Path(name): Path<String>,
) -> Result<StatusCode, Problem> {
    let name: IdentityRef = parse(&name)?;
    admin
        .change(operator, "restore", name.to_string(), None, move |broker| {
            broker.builtin.set_revoked(&name, None)
        })
        .await
}

pub(super) async fn rotate_data_key(
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
