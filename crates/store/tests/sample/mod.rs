//! Turns and stores that the tests are made of.
#![allow(dead_code, clippy::allow_attributes, reason = "each test takes what it needs")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use bytes::Bytes;
use protocol::id::{RunId, StepId, Timestamp};
use protocol::step::Mode;
use store::blob::Blobs;
use store::sqlite::{SqliteOptions, SqliteStore};
use store::{
    EncodedEvent, NewRun, NewStep, RunStatus, StepChange, StepState, StoreError, SummaryChange, Turn,
};
use uuid::Uuid;

pub(crate) fn open(folder: &Path) -> Result<SqliteStore, StoreError> {
    let blobs = Blobs::folder(&folder.join("blobs"))?;
    SqliteStore::open(&SqliteOptions::at(folder.join("sagewai.db")), blobs)
}

pub(crate) fn run_id(number: u128) -> RunId {
    RunId(Uuid::from_u128(number))
}

pub(crate) fn event(content: &[u8]) -> EncodedEvent {
    EncodedEvent { at: Timestamp(1), event: Bytes::copy_from_slice(content), notes: Bytes::new() }
}

/// Makes a run.
pub(crate) fn create(number: u128) -> Turn {
    let new = NewRun {
        namespace: "acme".to_owned(),
        workflow: "report".to_owned(),
        version: "1.0.0".to_owned(),
        labels: BTreeMap::new(),
        input: Bytes::from_static(b"{}"),
        parent: None,
        idempotency: None,
        at: Timestamp(1),
    };
    Turn {
        create: Some(new),
        events: vec![event(b"{\"started\":{\"input\":{}}}")],
        ..Turn::of(run_id(number))
    }
}

pub(crate) fn ready(step: u32) -> StepChange {
    StepChange::Ready(NewStep {
        step: StepId(step),
        task: "/do/0/work".to_owned(),
        name: "work".to_owned(),
        mode: Mode::Bare,
        class: "any".to_owned(),
        priority: 0,
        spec: Bytes::from(vec![b'{'; 200]),
        at: Timestamp(i64::from(step)),
    })
}

pub(crate) fn lease(step: u32) -> StepChange {
    StepChange::Leased { step: StepId(step), attempt: 1, worker: "worker-1".to_owned(), at: Timestamp(2) }
}

pub(crate) fn finish(step: u32) -> StepChange {
    StepChange::Finished {
        step: StepId(step),
        attempt: 1,
        state: StepState::Completed,
        at: Timestamp(3),
        artifacts: Vec::new(),
        error: None,
    }
}

pub(crate) fn summary(status: RunStatus) -> SummaryChange {
    SummaryChange { status, output: None, error: None, updated_at: Timestamp(4), finished_at: None }
}

/// An event and a ready step, at a version.
pub(crate) fn step_turn(number: u128, version: u64) -> Turn {
    Turn {
        expected_version: Some(version),
        events: vec![event(&[b'e'; 150])],
        steps: vec![ready(version as u32)],
        ..Turn::of(run_id(number))
    }
}

/// The hot turn: a step has ended, the next is ready and leased at once. Versions count from 1.
pub(crate) fn hot_turn(number: u128, version: u64) -> Turn {
    let step = version as u32;
    let mut steps = vec![ready(step), lease(step)];
    if step > 1 {
        steps.insert(0, finish(step - 1));
    }
    Turn {
        expected_version: Some(version),
        events: vec![event(&[b'e'; 150])],
        steps,
        ..Turn::of(run_id(number))
    }
}

/// A small disk of its own, unmounted when dropped.
pub(crate) struct SmallDisk {
    path: PathBuf,
}

impl SmallDisk {
    /// `None` where mounting is not allowed.
    pub(crate) fn mount(folder: &Path, size: &str) -> Option<Self> {
        let path = folder.join("disk");
        std::fs::create_dir(&path).ok()?;
        let options = format!("size={size}");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&path).output().ok()?;
        mounted.status.success().then_some(SmallDisk { path })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(&self.path).status();
        assert!(unmounted.is_ok_and(|status| status.success()), "failed to unmount {}", self.path.display());
    }
}
