//! Turns and rows that the suite is made of.

use std::collections::BTreeMap;

use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};
use protocol::step::Mode;
use uuid::Uuid;

use crate::{
    EncodedEvent, NewRun, NewStep, Refusal, RunStatus, StepChange, StepState, Store, SummaryChange, Turn,
    TurnOutcome,
};

/// The run with this number; ids grow with the numbers.
pub(super) fn run(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

pub(super) fn at(ms: i64) -> Timestamp {
    Timestamp(ms)
}

pub(super) fn text(text: &str) -> Bytes {
    Bytes::copy_from_slice(text.as_bytes())
}

pub(super) fn new_run(namespace: &str, workflow: &str) -> NewRun {
    NewRun {
        namespace: namespace.to_owned(),
        workflow: workflow.to_owned(),
        version: "1.0.0".to_owned(),
        labels: BTreeMap::new(),
        input: text("{}"),
        parent: None,
        idempotency: None,
        at: at(1),
    }
}

pub(super) fn event(content: &str) -> EncodedEvent {
    EncodedEvent { at: at(2), event: text(content), notes: Bytes::new() }
}

/// A turn that makes a run.
pub(super) fn create(number: u128) -> Turn {
    Turn { create: Some(new_run("acme", "report")), events: vec![event("started")], ..Turn::of(run(number)) }
}

/// A turn of a run at a version.
pub(super) fn advance(number: u128, version: u64) -> Turn {
    Turn { expected_version: Some(version), events: vec![event("next")], ..Turn::of(run(number)) }
}

pub(super) fn change(number: u128, steps: Vec<StepChange>) -> Turn {
    Turn { steps, ..Turn::of(run(number)) }
}

pub(super) fn summary(status: RunStatus) -> SummaryChange {
    SummaryChange {
        status,
        output: None,
        error: None,
        updated_at: at(3),
        finished_at: status.is_final().then(|| at(3)),
    }
}

pub(super) fn new_step(step: u32) -> NewStep {
    NewStep {
        step: StepId(step),
        task: format!("/do/{step}/work"),
        name: "work".to_owned(),
        mode: Mode::Sandboxed,
        class: "any".to_owned(),
        priority: 0,
        spec: text("{\"work\":1}"),
        at: at(10),
    }
}

pub(super) fn ready(step: u32) -> StepChange {
    StepChange::Ready(new_step(step))
}

pub(super) fn lease(step: u32, attempt: u32, worker: &str) -> StepChange {
    StepChange::Leased { step: StepId(step), attempt, worker: worker.to_owned(), at: at(20) }
}

pub(super) fn start(step: u32, attempt: u32) -> StepChange {
    StepChange::Started { step: StepId(step), attempt, at: at(21), sandbox: Some("namespace/7".to_owned()) }
}

pub(super) fn finish(step: u32, attempt: u32) -> StepChange {
    StepChange::Finished {
        step: StepId(step),
        attempt,
        state: StepState::Completed,
        at: at(30),
        artifacts: Vec::new(),
        error: None,
    }
}

pub(super) fn release(step: u32, attempt: u32) -> StepChange {
    StepChange::Released { step: StepId(step), attempt, at: at(25) }
}

/// Commits one turn.
pub(super) async fn commit(store: &dyn Store, turn: Turn) -> TurnOutcome {
    let mut outcomes = store.commit(vec![turn]).await.expect("commit");
    assert_eq!(outcomes.len(), 1);
    outcomes.remove(0)
}

/// Commits one turn that must be taken; answers the version.
pub(super) async fn taken(store: &dyn Store, turn: Turn) -> u64 {
    match commit(store, turn).await {
        TurnOutcome::Committed { version } => version,
        other => panic!("the turn was not taken: {other:?}"),
    }
}

/// Commits one turn that must be refused.
pub(super) async fn refused(store: &dyn Store, turn: Turn) -> Refusal {
    match commit(store, turn).await {
        TurnOutcome::Refused(refusal) => refusal,
        other => panic!("the turn was not refused: {other:?}"),
    }
}
