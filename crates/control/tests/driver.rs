//! The driver with the dispatcher, the timers and the children: what is acknowledged is stored, and goes on after a crash.

mod support;

use protocol::step::StepOutcome;
use serde_json::json;
use store::RunStatus;
use support::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_three_steps_ends_with_its_output() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let worker = plant.worker("w").await;
    tokio::spawn(worker.work(4));
    let run = plant.run("three", json!({})).await;
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    assert_eq!(plant.output(run).await, json!({ "n": 3 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_runs_at_once_all_end() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    for name in ["a", "b", "c"] {
        tokio::spawn(plant.worker(name).await.work(8));
    }
    let mut runs = Vec::new();
    for _ in 0..200 {
        runs.push(plant.run("three", json!({})).await);
    }
    for run in runs {
        assert_eq!(plant.ended(run).await, RunStatus::Completed);
    }
    let counts = plant.durable.counts(None).await.unwrap();
    assert_eq!(counts.steps(store::StepState::Completed), 600);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_no_worker_runs_are_accepted_and_planned_to_their_first_step_and_none_starts() {
    const RUNS: u64 = 10_000;
    let folder = tempfile::tempdir().unwrap();
    let blobs = store::blob::Blobs::memory();
    let options = store::sqlite::SqliteOptions::at(folder.path().join("test.db"));
    let sqlite = store::sqlite::SqliteStore::open(&options, blobs).unwrap();
    let plant = Plant::with(std::sync::Arc::new(sqlite), |config| config.cached_runs = 100).await;
    plant.publish(&three_steps()).await;
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let control = plant.control.clone();
        tasks.spawn(async move {
            for _ in 0..RUNS.div_ceil(64) {
                control.submit(new_run("three", json!({}))).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let counts = plant.durable.counts(None).await.unwrap();
    assert!(counts.steps(store::StepState::Ready) >= RUNS);
    assert_eq!(counts.steps(store::StepState::Ready), counts.runs(RunStatus::Running));
    for state in store::StepState::ALL.into_iter().filter(|state| *state != store::StepState::Ready) {
        assert_eq!(counts.steps(state), 0, "{}", state.name());
    }
    assert!(plant.control.metrics().steps_ready.value() == 0, "no step waits in memory");
    plant.control.metrics();
    assert!(plant.control.metrics().runs_cached.value() <= 100, "the cache is bounded");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_and_recovers_by_itself() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(1).await;
    let run = plant.run("three", json!({})).await;
    let attempt = worker.assigned().await;

    plant.faults.set_full(true);
    worker.finish(attempt).await;
    let refused = plant.control.submit(new_run("three", json!({}))).await.expect_err("the disk is full");
    assert!(refused.to_string().contains("disk is full"), "{refused}");
    assert!(plant.control.ready().unwrap_err().contains("disk is full"));
    assert!(worker.acknowledged.is_empty(), "what is not stored is not acknowledged");

    plant.faults.set_full(false);
    worker.acknowledged(attempt).await;
    plant.run("three", json!({})).await;
    assert_eq!(plant.control.ready(), Ok(()));
    tokio::spawn(worker.work(4));
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timer_fires_once_at_its_time_and_survives_a_restart() {
    let mut plant = Plant::new().await;
    let tasks = json!([{ "pause": { "wait": { "seconds": 60 } } }, { "after": { "set": { "done": true } } }]);
    plant.publish(&document("pause", &tasks)).await;
    let run = plant.run("pause", json!({})).await;
    assert_eq!(plant.status(run).await, RunStatus::Waiting);
    plant.restart().await;
    plant.clock.advance(59_999);
    plant.run("pause", json!({})).await;
    assert_eq!(plant.status(run).await, RunStatus::Waiting);
    plant.clock.advance(1);
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    assert_eq!(plant.output(run).await, json!({ "done": true }));
    assert_eq!(plant.durable.history(run, 0, 100).await.unwrap().len(), 2, "started, and one timer");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_run_starts_and_its_output_comes_back() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let call = json!({ "run": { "workflow": { "namespace": "test", "name": "three", "version": "1.0.0" } } });
    plant.publish(&document("parent", &json!([{ "call": call }]))).await;
    tokio::spawn(plant.worker("w").await.work(4));
    let run = plant.run("parent", json!({})).await;
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    assert_eq!(plant.output(run).await, json!({ "n": 3 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_that_is_not_published_faults_its_parent() {
    let plant = Plant::new().await;
    let call = json!({ "run": { "workflow": { "namespace": "test", "name": "gone", "version": "1.0.0" } } });
    plant.publish(&document("parent", &json!([{ "call": call }]))).await;
    let run = plant.run("parent", json!({})).await;
    assert_eq!(plant.ended(run).await, RunStatus::Faulted);
    let error = plant.error(run).await;
    assert!(error["detail"].as_str().unwrap().contains("test/gone"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_workflow_that_runs_itself_comes_to_an_end() {
    let plant = Plant::new().await;
    let call = json!({ "run": { "workflow": { "namespace": "test", "name": "again", "version": "1.0.0" } } });
    plant.publish(&document("again", &json!([{ "call": call }]))).await;
    let run = plant.run("again", json!({})).await;
    assert_eq!(plant.ended(run).await, RunStatus::Faulted);
    let error = plant.error(run).await;
    assert!(error["detail"].as_str().unwrap().contains("does it run itself?"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn children_survive_a_crash_at_every_commit() {
    for commits in 0..9 {
        let mut plant = Plant::new().await;
        plant.publish(&three_steps()).await;
        let call =
            json!({ "run": { "workflow": { "namespace": "test", "name": "three", "version": "1.0.0" } } });
        plant.publish(&document("parent", &json!([{ "call": call }]))).await;
        let mut worker = plant.worker("w").await;
        let run = plant.run("parent", json!({})).await;
        plant.faults.die_after(commits);
        let faults = plant.faults.clone();
        // Work until the server dies.
        worker.ready(4).await;
        let work = async {
            while worker.receive().await {
                for attempt in worker.held.keys().copied().collect::<Vec<_>>() {
                    worker.ready(1).await;
                    worker.finish(attempt).await;
                    worker.held.remove(&attempt);
                }
            }
        };
        tokio::select! {
            () = work => panic!("the stream stays open"),
            () = faults.died() => {}
            _ = async { plant.ended(run).await } => {}
        }
        plant.restart().await;
        worker.held.clear();
        tokio::spawn(worker.reconnect(&plant.control).await.work(4));
        // What the crash left undone is found by alarms, which are due a few seconds later.
        plant.clock.advance(6_000);
        assert_eq!(plant.ended(run).await, RunStatus::Completed, "crash after {commits} commits");
        assert_eq!(plant.output(run).await, json!({ "n": 3 }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_idempotency_key_gives_the_same_run() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let keyed = |input| {
        let mut run = new_run("three", input);
        run.idempotency_key = Some("order-1".to_owned());
        run
    };
    let first = plant.control.submit(keyed(json!({ "n": 1 }))).await.unwrap();
    assert_eq!(plant.control.submit(keyed(json!({ "n": 1 }))).await.unwrap(), first);
    let refused = plant.control.submit(keyed(json!({ "n": 2 }))).await.expect_err("another request");
    assert!(
        matches!(refused, control::SubmitError::IdempotencyKeyReused { run, .. } if run == first),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unpublished_document_runs_and_is_loaded_again() {
    let mut plant = Plant::new().await;
    let mut run = new_run("", json!({}));
    run.source = control::Source::Document(three_steps());
    let run = plant.control.submit(run).await.unwrap();
    plant.restart().await;
    tokio::spawn(plant.worker("w").await.work(4));
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn suspended_runs_hold_and_resumed_ones_go_on() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(4).await;
    let run = plant.run("three", json!({})).await;
    let first = worker.assigned().await;
    plant.control.suspend(run).await.unwrap();
    worker.finish(first).await;
    worker.acknowledged(first).await;
    assert_eq!(plant.status(run).await, RunStatus::Suspended);
    assert!(worker.held.is_empty());
    plant.control.resume(run).await.unwrap();
    tokio::spawn(worker.work(4));
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ready_step_of_a_suspended_run_is_not_handed_out_even_after_a_restart() {
    let mut plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let run = plant.run("three", json!({})).await;
    plant.control.suspend(run).await.unwrap();
    plant.restart().await;
    let mut worker = plant.worker("w").await;
    worker.ready(4).await;
    let other = plant.run("three", json!({})).await;
    let attempt = worker.assigned().await;
    assert_eq!(attempt.run, other);
    worker.receive_all();
    assert_eq!(worker.held.len(), 1, "only the step of the run that is not suspended");
    plant.control.resume(run).await.unwrap();
    tokio::spawn(worker.work(4));
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_of_another_namespace_is_refused() {
    let plant = Plant::new().await;
    plant.publish(&three_steps().replace("\"test\"", "\"other\"")).await;
    let call =
        json!({ "run": { "workflow": { "namespace": "other", "name": "three", "version": "1.0.0" } } });
    plant.publish(&document("parent", &json!([{ "call": call }]))).await;
    let run = plant.run("parent", json!({})).await;
    assert_eq!(plant.ended(run).await, RunStatus::Faulted);
    assert!(plant.error(run).await["detail"].as_str().unwrap().contains("another namespace"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_run_takes_its_steps_back() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    let waiting = plant.run("three", json!({})).await;
    plant.control.cancel(waiting).await.unwrap();
    assert_eq!(plant.ended(waiting).await, RunStatus::Cancelled);
    let again = plant.control.cancel(waiting).await.expect_err("it has ended");
    assert!(matches!(again, control::ControlError::Conflict(_)), "{again}");

    worker.ready(4).await;
    let running = plant.run("three", json!({})).await;
    let attempt = worker.assigned().await;
    assert_eq!(attempt.run, running, "the cancelled run's step is not handed out");
    plant.control.cancel(running).await.unwrap();
    while worker.cancelled.is_empty() {
        worker.receive().await;
    }
    assert_eq!(worker.cancelled, [attempt]);
    worker.report(attempt, &StepOutcome::Cancelled).await;
    worker.acknowledged(attempt).await;
    assert_eq!(plant.ended(running).await, RunStatus::Cancelled);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_loop_delays_no_other_run() {
    let plant = Plant::with(std::sync::Arc::new(store::memory::MemoryStore::new()), |config| {
        config.planner_threads = 1;
        config.clock = control::clock::Clock::System;
    })
    .await;
    let tasks = json!([{ "again": { "set": { "n": 1 }, "then": "again" } }]);
    plant.publish(&document("endless", &tasks)).await;
    plant.publish(&three_steps()).await;
    tokio::spawn(plant.worker("w").await.work(4));
    let endless = plant.run("endless", json!({})).await;
    for _ in 0..5 {
        let run = plant.run("three", json!({})).await;
        assert_eq!(plant.ended(run).await, RunStatus::Completed);
    }
    assert!(!plant.status(endless).await.is_final());
    plant.control.cancel(endless).await.unwrap();
    assert_eq!(plant.ended(endless).await, RunStatus::Cancelled);
}
