//! Turns: what the planner decided for a run, as rows. All checks of a turn come before its first write, so that a refused
//! turn needs no rollback.

use std::collections::BTreeMap;

use protocol::id::{RunId, StepId};
use rusqlite::params;

use super::rows::{self, mode_code, one_of};
use super::write::Session;
use crate::blob::BlobId;
use crate::large::SlimTurn;
use crate::stage::{self, StageError, StagedStep};
use crate::{
    Idempotency, NewRun, Refusal, RunStatus, Step, StepState, StoreError, SummaryChange, TimerChange,
    TurnOutcome, sql,
};

/// Counter kinds of steps come after those of runs.
pub(super) const STEP_COUNTERS: u8 = 16;

/// Kinds of a run's values.
pub(super) const INPUT: u8 = 0;
pub(super) const OUTPUT: u8 = 1;
pub(super) const ERROR: u8 = 2;

/// What a turn must know of its run.
struct Head {
    version: u64,
    status: RunStatus,
    namespace: String,
}

/// Takes one turn or refuses it.
pub(super) fn take(session: &mut Session, slim: &SlimTurn) -> Result<TurnOutcome, StoreError> {
    let turn = &slim.turn;
    if let Some(new) = &turn.create
        && let Some(idempotency) = &new.idempotency
        && let Some(outcome) = repeated(session, &new.namespace, idempotency)?
    {
        return Ok(outcome);
    }
    let head = head(session, turn.run)?;
    let version = match stage::starting_version(turn, head.as_ref().map(|head| head.version)) {
        Ok(version) => version,
        Err(refusal) => return Ok(TurnOutcome::Refused(refusal)),
    };
    let staged = match stage::stage_steps(&turn.steps, |step| load_step(session, turn.run, step)) {
        Ok(staged) => staged,
        Err(StageError::Refused(refusal)) => return Ok(TurnOutcome::Refused(refusal)),
        Err(StageError::Store(error)) => return Err(error),
    };

    let now = version + turn.events.len() as u64;
    let namespace = match (&turn.create, head) {
        (Some(new), _) => {
            insert_run(session, turn.run, new, now, turn.summary.as_ref())?;
            new.namespace.clone()
        }
        (None, Some(head)) => {
            update_run(session, turn.run, &head, now, turn.summary.as_ref())?;
            head.namespace
        }
        (None, None) => unreachable!("a turn that makes no run was refused without one"),
    };
    insert_events(session, slim, version)?;
    if let Some(state) = &turn.snapshot {
        session.prepare(sql::SNAPSHOT_PUT)?.execute((id(&turn.run), now, &state[..]))?;
    }
    for step in &staged {
        write_step(session, turn.run, &namespace, step)?;
    }
    write_timers(session, turn.run, &turn.timers)?;
    write_blob_uses(session, slim, &staged)?;
    Ok(TurnOutcome::Committed { version: now })
}

/// A run's id as a parameter.
pub(super) fn id(run: &RunId) -> &[u8] {
    run.0.as_bytes()
}

fn repeated(
    session: &Session,
    namespace: &str,
    idempotency: &Idempotency,
) -> Result<Option<TurnOutcome>, StoreError> {
    let mut find = session.prepare(sql::KEY_FIND)?;
    one_of(&mut find, (namespace, &idempotency.key), |row| {
        let run = rows::run_id(row, 0)?;
        Ok(match row.get::<_, [u8; 32]>(1)? == idempotency.request_sha256 {
            true => TurnOutcome::Repeated { run },
            false => TurnOutcome::Refused(Refusal::KeyReused { run }),
        })
    })
}

fn head(session: &Session, run: RunId) -> Result<Option<Head>, StoreError> {
    one_of(&mut session.prepare(sql::RUN_HEAD)?, [id(&run)], |row| {
        Ok(Head { version: row.get(0)?, status: rows::status(row, 1)?, namespace: row.get(2)? })
    })
}

fn load_step(session: &Session, run: RunId, step: StepId) -> Result<Option<Step>, StoreError> {
    one_of(&mut session.prepare(sql::STEP_BY_ID)?, (id(&run), step.0), super::queue::step)
}

fn insert_run(
    session: &mut Session,
    run: RunId,
    new: &NewRun,
    version: u64,
    summary: Option<&SummaryChange>,
) -> Result<(), StoreError> {
    let status = summary.map_or(RunStatus::Pending, |summary| summary.status);
    session.prepare(sql::RUN_INSERT)?.execute(params![
        id(&run),
        new.namespace,
        new.workflow,
        new.version,
        labels_text(&new.labels),
        status as u8,
        version,
        new.parent.as_ref().map(|parent| id(&parent.run)),
        new.parent.map(|parent| parent.child),
        new.at.0,
        summary.map_or(new.at, |summary| summary.updated_at).0,
        summary.and_then(|summary| summary.finished_at).map(|at| at.0),
    ])?;
    put_value(session, run, INPUT, &new.input)?;
    if let Some(summary) = summary {
        put_results(session, run, summary)?;
    }
    for (key, value) in &new.labels {
        session.prepare(sql::LABEL_INSERT)?.execute((key, value, id(&run)))?;
    }
    if let Some(idempotency) = &new.idempotency {
        let mut insert = session.prepare(sql::KEY_INSERT)?;
        insert.execute((&new.namespace, &idempotency.key, id(&run), idempotency.request_sha256))?;
    }
    session.count(&new.namespace, status as u8, 1);
    Ok(())
}

/// Writes what has changed, with the statement that touches the fewest indexes.
fn update_run(
    session: &mut Session,
    run: RunId,
    head: &Head,
    version: u64,
    summary: Option<&SummaryChange>,
) -> Result<(), StoreError> {
    let Some(summary) = summary else {
        if version != head.version {
            session.prepare(sql::RUN_SET_VERSION)?.execute((version, id(&run)))?;
        }
        return Ok(());
    };
    let (updated_at, finished_at) = (summary.updated_at.0, summary.finished_at.map(|at| at.0));
    if summary.status == head.status {
        session.prepare(sql::RUN_SET_TIMES)?.execute((version, updated_at, finished_at, id(&run)))?;
    } else {
        let parameters = (version, updated_at, finished_at, summary.status as u8, id(&run));
        session.prepare(sql::RUN_SET_STATUS)?.execute(parameters)?;
        session.count(&head.namespace, head.status as u8, -1);
        session.count(&head.namespace, summary.status as u8, 1);
    }
    if head.status.is_final() {
        for kind in [OUTPUT, ERROR] {
            session.prepare(sql::VALUE_DELETE)?.execute((id(&run), kind))?;
        }
    }
    put_results(session, run, summary)
}

fn put_results(session: &Session, run: RunId, summary: &SummaryChange) -> Result<(), StoreError> {
    for (kind, value) in [(OUTPUT, &summary.output), (ERROR, &summary.error)] {
        if let Some(value) = value {
            put_value(session, run, kind, value)?;
        }
    }
    Ok(())
}

fn put_value(session: &Session, run: RunId, kind: u8, value: &[u8]) -> Result<(), StoreError> {
    session.prepare(sql::VALUE_PUT)?.execute((id(&run), kind, value))?;
    Ok(())
}

fn insert_events(session: &Session, slim: &SlimTurn, version: u64) -> Result<(), StoreError> {
    let turn = &slim.turn;
    let mut insert = session.prepare(sql::EVENT_INSERT)?;
    for (number, event) in (version + 1..).zip(&turn.events) {
        insert.execute((id(&turn.run), number, event.at.0, &event.event[..], &event.notes[..]))?;
    }
    Ok(())
}

fn write_step(
    session: &mut Session,
    run: RunId,
    namespace: &str,
    staged: &StagedStep<'_>,
) -> Result<(), StoreError> {
    let step = &staged.step;
    let artifacts = (!step.artifacts.is_empty())
        .then(|| serde_json::to_string(&step.artifacts).expect("artifacts are plain data"));
    let time = |at: Option<protocol::id::Timestamp>| at.map(|at| at.0);
    match staged.before {
        None => {
            session.prepare(sql::STEP_INSERT)?.execute(params![
                id(&run),
                step.step.0,
                step.state as u8,
                step.attempt,
                mode_code(step.mode),
                -i64::from(step.priority),
                step.task,
                step.name,
                step.class,
                step.worker,
                step.sandbox,
                step.ready_at.0,
                time(step.leased_at),
                time(step.started_at),
                time(step.finished_at),
                artifacts,
                step.error.as_deref(),
            ])?;
            let spec = staged.spec.map_or(&[][..], |spec| spec);
            session.prepare(sql::SPEC_INSERT)?.execute((id(&run), step.step.0, spec))?;
        }
        Some(_) => {
            session.prepare(sql::STEP_UPDATE)?.execute(params![
                step.state as u8,
                step.attempt,
                step.worker,
                step.sandbox,
                step.ready_at.0,
                time(step.leased_at),
                time(step.started_at),
                time(step.finished_at),
                artifacts,
                step.error.as_deref(),
                id(&run),
                step.step.0,
            ])?;
        }
    }
    count_step(session, namespace, staged.before, step.state);
    Ok(())
}

fn count_step(session: &mut Session, namespace: &str, before: Option<StepState>, now: StepState) {
    if before != Some(now) {
        if let Some(before) = before {
            session.count(namespace, STEP_COUNTERS + before as u8, -1);
        }
        session.count(namespace, STEP_COUNTERS + now as u8, 1);
    }
}

fn write_timers(session: &Session, run: RunId, timers: &[TimerChange]) -> Result<(), StoreError> {
    for change in timers {
        match change {
            TimerChange::Set { timer, at } => {
                session.prepare(sql::TIMER_PUT)?.execute((id(&run), timer.0, at.0))?
            }
            TimerChange::Clear { timer } => {
                session.prepare(sql::TIMER_DELETE)?.execute((id(&run), timer.0))?
            }
        };
    }
    Ok(())
}

fn write_blob_uses(session: &Session, slim: &SlimTurn, staged: &[StagedStep<'_>]) -> Result<(), StoreError> {
    let artifacts = staged.iter().flat_map(|staged| &staged.step.artifacts);
    let files = artifacts.filter_map(|artifact| artifact.sha256.parse::<BlobId>().ok());
    for blob in slim.blobs.iter().copied().chain(files) {
        session.prepare(sql::BLOB_USE_INSERT)?.execute((blob.0, id(&slim.turn.run)))?;
    }
    Ok(())
}

fn labels_text(labels: &BTreeMap<String, String>) -> String {
    serde_json::to_string(labels).expect("labels are plain data")
}
