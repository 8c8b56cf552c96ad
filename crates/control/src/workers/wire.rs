//! Messages for a worker in their wire form. Grants are signed here, at the moment a step is pushed.

use protocol::step::StepSpec;
use protocol::worker_api::server_message::Kind;
use protocol::worker_api::{
    Acknowledge, Assign, Assignment, Attempt, Cancel, Drain, Heartbeat, ServerMessage, Welcome,
};

use super::link::{Assigned, Outgoing, WorkerLink};
use crate::core::Core;

/// The wire form of a message.
pub(crate) fn encode(core: &Core, link: &WorkerLink, message: Outgoing) -> ServerMessage {
    let attempts = |ids: Vec<protocol::id::AttemptId>| ids.into_iter().map(Attempt::from).collect();
    let kind = match message {
        Outgoing::Welcome { lost } => Kind::Welcome(Welcome {
            server: core.server.clone(),
            lease_seconds: seconds(core.lease),
            heartbeat_seconds: seconds(core.heartbeat),
            lost: attempts(lost),
        }),
        Outgoing::Assign(steps) => Kind::Assign(Assign {
            steps: steps.into_iter().map(|step| assignment(core, link, step)).collect(),
        }),
        Outgoing::Cancel(ids) => Kind::Cancel(Cancel { attempts: attempts(ids) }),
        Outgoing::Acknowledge(ids) => Kind::Acknowledge(Acknowledge { attempts: attempts(ids) }),
        Outgoing::Drain => Kind::Drain(Drain {}),
        Outgoing::Heartbeat { beat } => Kind::Heartbeat(Heartbeat { running: 0, beat }),
    };
    ServerMessage { kind: Some(kind) }
}

fn seconds(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX).max(1)
}

fn assignment(core: &Core, link: &WorkerLink, step: Assigned) -> Assignment {
    let Assigned { attempt, spec, meta } = step;
    Assignment {
        attempt: Some(attempt.into()),
        grant: grant(core, link, attempt, &spec, &meta),
        spec: spec.into(),
        namespace: meta.namespace.as_ref().to_owned(),
        workflow: meta.workflow.clone(),
    }
}

/// The grant of a step with an identity; empty for the others. A step whose grant cannot be signed is pushed without one:
/// the broker refuses it, and the run says so.
fn grant(
    core: &Core,
    link: &WorkerLink,
    attempt: protocol::id::AttemptId,
    spec: &[u8],
    meta: &crate::dispatch::queue::RunMeta,
) -> String {
    // Most steps have no identity, and parsing each spec for it would be the dearest part of the push.
    const KEY: &[u8] = b"\"identity\":";
    let Some(grants) = core.grants.as_ref().filter(|_| spec.windows(KEY.len()).any(|part| part == KEY))
    else {
        return String::new();
    };
    let Ok(spec) = serde_json::from_slice::<StepSpec>(spec) else { return String::new() };
    let Some(identity) = &spec.identity else { return String::new() };
    match grants.sign(attempt, &spec, identity, meta, link, core.clock.now()) {
        Ok(grant) => grant,
        Err(error) => {
            tracing::error!(run = %attempt.run, step = %attempt.step, %error, "failed to sign a grant");
            String::new()
        }
    }
}
