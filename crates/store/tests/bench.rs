//! How many turns a second SQLite takes, fsync on. Run by hand, built for release:
//! `cargo test --release -p store --test bench -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "a test fails by it")]

mod sample;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sample::{create, finish, hot_turn, lease, open, ready, summary};
use store::{RunStatus, Store, TurnOutcome};

/// How long each measurement runs.
const MEASURE: Duration = Duration::from_secs(4);

/// "Step done, next ready, next leased" of as many runs as there are callers, each with one turn at a time.
#[test]
#[ignore = "a measurement"]
fn turns_per_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    for callers in [1_u64, 64, 256] {
        runtime.block_on(single_turns(callers));
    }
    for batch in [1_u64, 64, 256] {
        runtime.block_on(batches(batch));
    }
    for callers in [1_u64, 64, 256] {
        runtime.block_on(short_runs(callers));
    }
}

/// Runs of three steps, one after the other in each caller: four turns a run, as the driver would commit them.
async fn short_runs(callers: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = Arc::new(open(folder.path()).unwrap());
    let cpu = cpu_ms();
    let began = Instant::now();
    let next = Arc::new(AtomicU64::new(1));
    let tasks: Vec<_> = (0..callers)
        .map(|_| {
            let (store, next) = (store.clone(), next.clone());
            tokio::spawn(async move {
                let mut times = Vec::new();
                while began.elapsed() < MEASURE {
                    let run = u128::from(next.fetch_add(1, Ordering::Relaxed));
                    let mut first = create(run);
                    first.summary = Some(summary(RunStatus::Running));
                    first.steps = vec![ready(1), lease(1)];
                    let mut last = hot_turn(run, 3);
                    last.steps = vec![finish(3)];
                    last.summary = Some(summary(RunStatus::Completed));
                    last.expected_version = Some(3);
                    for (mut turn, version) in
                        [first, hot_turn(run, 1), hot_turn(run, 2), last].into_iter().zip(0..)
                    {
                        if (1..3).contains(&version) {
                            turn.steps = vec![finish(version), ready(version + 1), lease(version + 1)];
                        }
                        let call = Instant::now();
                        let outcomes = store.commit(vec![turn]).await.unwrap();
                        assert!(matches!(outcomes[0], TurnOutcome::Committed { .. }), "{outcomes:?}");
                        times.push(call.elapsed());
                    }
                }
                times
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    let steps = times.len() as f64 * 0.75 / began.elapsed().as_secs_f64();
    report(
        &format!("{callers} callers, runs of 3 steps ({steps:.0} steps/s)"),
        times,
        1,
        began.elapsed(),
        cpu_ms() - cpu,
    );
}

async fn single_turns(callers: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = Arc::new(open(folder.path()).unwrap());
    let cpu = cpu_ms();
    let began = Instant::now();
    let tasks: Vec<_> = (1..=u128::from(callers))
        .map(|run| {
            let store = store.clone();
            tokio::spawn(async move {
                store.commit(vec![create(run)]).await.unwrap();
                let (mut version, mut slowest) = (1, Vec::new());
                while began.elapsed() < MEASURE {
                    let turn = Instant::now();
                    assert!(matches!(
                        store.commit(vec![hot_turn(run, version)]).await.unwrap()[0],
                        TurnOutcome::Committed { .. }
                    ));
                    slowest.push(turn.elapsed());
                    version += 1;
                }
                slowest
            })
        })
        .collect();
    let mut times = Vec::new();
    for task in tasks {
        times.extend(task.await.unwrap());
    }
    report(&format!("{callers} callers, one turn a call"), times, 1, began.elapsed(), cpu_ms() - cpu);
}

async fn batches(batch: u64) {
    let folder = tempfile::tempdir_in(".").unwrap();
    let store = open(folder.path()).unwrap();
    store.commit((1..=u128::from(batch)).map(create).collect()).await.unwrap();
    let cpu = cpu_ms();
    let began = Instant::now();
    let (mut version, mut times) = (1, Vec::new());
    while began.elapsed() < MEASURE {
        let turns = (1..=u128::from(batch)).map(|run| hot_turn(run, version)).collect();
        let turn = Instant::now();
        let outcomes = store.commit(turns).await.unwrap();
        times.push(turn.elapsed());
        assert!(outcomes.iter().all(|outcome| matches!(outcome, TurnOutcome::Committed { .. })));
        version += 1;
    }
    report(&format!("one caller, {batch} turns a call"), times, batch, began.elapsed(), cpu_ms() - cpu);
}

fn report(what: &str, mut times: Vec<Duration>, turns: u64, elapsed: Duration, cpu_ms: u64) {
    times.sort();
    let total = times.len() as u64 * turns;
    let at = |part: f64| times[((times.len() - 1) as f64 * part) as usize];
    eprintln!(
        "{what}: {:.0} turns/s, call p50 {:?} p99 {:?}, CPU {:.0} µs a turn",
        total as f64 / elapsed.as_secs_f64(),
        at(0.5),
        at(0.99),
        cpu_ms as f64 * 1000.0 / total as f64
    );
}

/// CPU time of this process so far, milliseconds (ticks are 10 ms).
fn cpu_ms() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    (fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()) * 10
}
