//! A measurement, not a test: what a step costs the control plane on SQLite, with workers in the same process.
//!
//! `cargo test --release -p control --test throughput -- --ignored --nocapture`

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use serde_json::json;
use store::blob::Blobs;
use store::sqlite::{SqliteOptions, SqliteStore};
use support::*;

/// How long each round is.
const ROUND: Duration = Duration::from_secs(5);
/// Steps of a run.
const STEPS: usize = 3;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn what_a_step_costs() {
    for outstanding in [1, 64, 256] {
        round(outstanding).await;
    }
}

async fn round(outstanding: usize) {
    let folder = tempfile::tempdir().expect("a folder is made");
    let options = SqliteOptions::at(folder.path().join("throughput.db"));
    let store = SqliteStore::open(&options, Blobs::memory()).expect("the store opens");
    let plant = Plant::with(Arc::new(store), |config| {
        config.clock = control::clock::Clock::System;
        config.planner_threads = 8;
        config.seed = None;
    })
    .await;
    plant.publish(&three_steps()).await;
    let worker = plant.worker("w").await;
    let working = tokio::spawn(worker.work(256));
    let done = Arc::new(AtomicUsize::new(0));
    let (begin, cpu) = (Instant::now(), cpu_seconds());
    let mut clients = tokio::task::JoinSet::new();
    for _ in 0..outstanding {
        let (control, done) = (plant.control.clone(), Arc::clone(&done));
        clients.spawn(async move {
            while begin.elapsed() < ROUND {
                let run = control.submit(new_run("three", json!({}))).await.expect("the run is accepted");
                let mut events = control.watch(run).await.expect("the run is there");
                while events.next().await.is_some() {}
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }
    while clients.join_next().await.is_some() {}
    working.abort();
    let (seconds, cpu) = (begin.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    let runs = done.load(Ordering::Relaxed);
    let steps = (runs * STEPS) as f64;
    let metrics = plant.control.metrics();
    println!(
        "{outstanding} outstanding: {:.0} runs/s, {:.0} steps/s, {:.3} ms CPU a step (clients and workers included), \
         {:.2} ms a run, {:.1} turns a commit, {:.2} ms a commit",
        runs as f64 / seconds,
        steps / seconds,
        cpu * 1e3 / steps,
        seconds * 1e3 * outstanding as f64 / runs as f64,
        metrics.commit_turns.sum() as f64 / metrics.commits.value() as f64,
        metrics.commit_microseconds.sum() as f64 / 1e3 / metrics.commits.value() as f64,
    );
}

/// CPU time of this process, user and system, in seconds; zero where /proc is not there.
fn cpu_seconds() -> f64 {
    const TICKS_PER_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let field = |n: usize| after_name.split(' ').nth(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (field(11) + field(12)) / TICKS_PER_SECOND
}
