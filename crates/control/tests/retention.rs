//! Runs that are not to be kept, and runs that cannot be loaded.

#![expect(clippy::unwrap_used, reason = "what goes wrong in a test is to be seen where it does")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use control::KeepRuns;
use protocol::id::RunId;
use serde_json::json;
use store::RunStatus;
use store::memory::MemoryStore;
use support::*;

const HOUR_MS: i64 = 3_600_000;

async fn is_stored(plant: &Plant, run: RunId) -> bool {
    plant.durable.run_summary(run).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_that_ended_long_ago_are_deleted_and_those_that_go_on_are_not() {
    let keep = KeepRuns { age: Some(Duration::from_secs(24 * 3600)), count: None };
    let plant = Plant::with(Arc::new(MemoryStore::new()), |config| config.keep_runs = keep).await;
    plant.publish(&document("short", &json!([{ "one": { "set": { "n": 1 } } }]))).await;
    plant.publish(&document("waits", &json!([{ "wait": { "wait": { "days": 30 } } }]))).await;
    let waiting = plant.run("waits", json!({})).await;
    let old = plant.run("short", json!({})).await;
    assert_eq!(plant.ended(old).await, RunStatus::Completed);
    plant.clock.advance(23 * HOUR_MS);
    let young = plant.run("short", json!({})).await;
    assert_eq!(plant.ended(young).await, RunStatus::Completed);
    assert!(is_stored(&plant, old).await);
    plant.clock.advance(2 * HOUR_MS);
    until("the old one is deleted", async || !is_stored(&plant, old).await).await;
    assert!(is_stored(&plant, young).await);
    assert_eq!(plant.status(waiting).await, RunStatus::Waiting);
    // Twenty-four hours later, and though the other was there before it.
    plant.clock.advance(24 * HOUR_MS);
    until("the young one is deleted", async || !is_stored(&plant, young).await).await;
    assert_eq!(plant.status(waiting).await, RunStatus::Waiting);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_runs_are_kept() {
    let keep = KeepRuns { age: None, count: Some(2) };
    let plant = Plant::with(Arc::new(MemoryStore::new()), |config| config.keep_runs = keep).await;
    plant.publish(&document("short", &json!([{ "one": { "set": { "n": 1 } } }]))).await;
    let mut runs = Vec::new();
    for _ in 0..5 {
        let run = plant.run("short", json!({})).await;
        assert_eq!(plant.ended(run).await, RunStatus::Completed);
        runs.push(run);
    }
    for run in &runs {
        assert!(is_stored(&plant, *run).await, "they have just ended");
    }
    plant.clock.advance(HOUR_MS);
    until("three are deleted", async || !is_stored(&plant, runs[2]).await).await;
    for (run, kept) in runs.iter().zip([false, false, false, true, true]) {
        assert_eq!(is_stored(&plant, *run).await, kept, "{run}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_whose_document_is_gone_is_tried_now_and_then_and_goes_on_when_it_is_back() {
    let mut plant = Plant::new().await;
    plant.publish(&document("waits", &json!([{ "wait": { "wait": { "seconds": 10 } } }]))).await;
    let run = plant.run("waits", json!({})).await;
    plant.restart().await;
    plant.faults.set_forgetful(true);
    plant.clock.advance(10_000);
    let due = plant.clock.now();
    until("its timer is put off", async || {
        plant.durable.next_timer_at().await.unwrap().is_some_and(|at| at.0 >= due.0 + 60_000)
    })
    .await;
    assert_eq!(plant.status(run).await, RunStatus::Waiting);
    plant.faults.set_forgetful(false);
    plant.clock.advance(60_000);
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
}
