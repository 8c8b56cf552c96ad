//! Enrolled workers and trusted servers.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::StatusCode;

use super::change::{json, trust_problem};
use super::{Admin, Operator};
use crate::admin::wire;
use crate::broker::core::Broker;
use crate::broker::problem::Problem;
use crate::broker::serve::now_ms;
use crate::broker::trust::Party;

pub(super) fn list(State(admin): State<Admin>, party: Party) -> Json<Vec<wire::Party>> {
    let trust = admin.broker.trust.read().expect("no holder of this lock panics");
    let parties = trust.list(party).iter().map(|(name, enrolled)| wire::Party {
        name: name.clone(),
        key: enrolled.key.clone(),
        since_ms: enrolled.since_ms,
    });
    Json(parties.collect())
}

pub(super) async fn enrol_worker(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    enrol(admin, operator, Party::Worker, name, &body).await
}

pub(super) async fn trust_server(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
    body: Bytes,
) -> Result<StatusCode, Problem> {
    enrol(admin, operator, Party::Server, name, &body).await
}

pub(super) async fn remove_worker(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
) -> Result<StatusCode, Problem> {
    expel(admin, operator, Party::Worker, name).await
}

pub(super) async fn remove_server(
    admin: State<Admin>,
    operator: Operator,
    name: Path<String>,
) -> Result<StatusCode, Problem> {
    expel(admin, operator, Party::Server, name).await
}

pub(super) async fn enrol(
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

pub(super) async fn expel(
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
