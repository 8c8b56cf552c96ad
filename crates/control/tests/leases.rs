//! Leases: who holds a step, when it is handed out again, and what of late and repeated reports.

mod support;

use protocol::step::StepOutcome;
use serde_json::json;
use store::RunStatus;
use support::*;

/// Longer than a lease.
const LEASE_MS: i64 = 15_001;

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_workers_step_is_handed_out_again_and_its_late_report_is_refused() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut silent = plant.worker("silent").await;
    silent.ready(1).await;
    let run = plant.run("three", json!({})).await;
    let first = silent.assigned().await;
    plant.clock.advance(LEASE_MS);
    let mut other = plant.worker("other").await;
    other.ready(1).await;
    let second = other.assigned().await;
    assert_eq!((second.step, second.attempt), (first.step, 2));
    while silent.receive().await {}
    let mut silent = silent.reconnect(&plant.control).await;
    assert_eq!(silent.lost, [first]);
    let forged = StepOutcome::Completed { output: json!("forged"), artifacts: Vec::new() };
    silent.report(first, &forged).await;
    silent.acknowledged(first).await;
    other.finish(second).await;
    other.acknowledged(second).await;
    tokio::spawn(other.work(4));
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    assert_eq!(plant.control.metrics().reports_stale.value(), 1);
    let history = plant.durable.history(run, 0, 100).await.unwrap();
    assert!(!history.iter().any(|entry| String::from_utf8_lossy(&entry.event).contains("forged")));
}

#[tokio::test(flavor = "multi_thread")]
async fn heartbeats_keep_leases() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(1).await;
    plant.run("three", json!({})).await;
    let attempt = worker.assigned().await;
    for _ in 0..5 {
        plant.clock.advance(10_000);
        worker.beat().await;
        assert!(worker.receive().await, "the heartbeat is answered");
    }
    worker.finish(attempt).await;
    worker.acknowledged(attempt).await;
    assert_eq!(plant.control.metrics().leases_expired.value(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_survives_a_restart_of_the_server() {
    let mut plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(1).await;
    let run = plant.run("three", json!({})).await;
    let attempt = worker.assigned().await;
    // Longer than a lease: the time in which no server could hear of the worker does not count.
    plant.restart_after(60_000).await;
    let expired = plant.durable.expired_workers(plant.clock.now()).await.unwrap();
    assert!(expired.is_empty(), "the worker has a lease's time to come back");
    let mut worker = worker.reconnect(&plant.control).await;
    assert!(worker.lost.is_empty(), "the lease holds");
    worker.finish(attempt).await;
    worker.acknowledged(attempt).await;
    tokio::spawn(worker.work(4));
    assert_eq!(plant.ended(run).await, RunStatus::Completed);
    let steps = plant.durable.steps(run, None, 10).await.unwrap();
    assert!(steps.iter().all(|step| step.attempt == 1), "no step ran twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lease_that_the_worker_never_heard_of_is_handed_out_again() {
    let mut plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(1).await;
    // The lease is committed with the run's first turn, and the server dies before it is pushed.
    plant.faults.die_after(0);
    let submit = {
        let control = plant.control.clone();
        async move { control.submit(new_run("three", json!({}))).await }
    };
    let faults = plant.faults.clone();
    tokio::select! {
        _ = submit => panic!("nobody learns of the commit"),
        () = faults.died() => {}
    }
    plant.restart().await;
    let mut worker = worker.reconnect(&plant.control).await;
    worker.ready(1).await;
    let attempt = worker.assigned().await;
    assert_eq!(attempt.attempt, 2);
    tokio::spawn(worker.work(4));
    until("the run ends", async || {
        plant.control.store().counts(None).await.unwrap().runs(RunStatus::Completed) == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_is_repeated_counts_once() {
    let mut plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(1).await;
    let run = plant.run("three", json!({})).await;
    let attempt = worker.assigned().await;
    let outcome = StepOutcome::Completed { output: json!(1), artifacts: Vec::new() };
    for _ in 0..3 {
        worker.report(attempt, &outcome).await;
    }
    worker.acknowledged(attempt).await;
    // Its acknowledgement was lost with the connection and the server.
    plant.restart().await;
    worker.acknowledged.clear();
    let mut worker = worker.reconnect(&plant.control).await;
    worker.report(attempt, &outcome).await;
    worker.acknowledged(attempt).await;
    let finished = plant.durable.history(run, 0, 100).await.unwrap();
    assert_eq!(finished.len(), 2, "started, and one step");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_reports_only_what_it_holds() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let (mut holder, mut thief) = (plant.worker("holder").await, plant.worker("thief").await);
    holder.ready(1).await;
    let run = plant.run("three", json!({})).await;
    let attempt = holder.assigned().await;
    thief.report(attempt, &StepOutcome::Completed { output: json!("stolen"), artifacts: Vec::new() }).await;
    thief.acknowledged(attempt).await;
    assert_eq!(plant.durable.history(run, 0, 100).await.unwrap().len(), 1);
    holder.finish(attempt).await;
    holder.acknowledged(attempt).await;
    assert_eq!(plant.durable.history(run, 0, 100).await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_ends_its_workers_fails_in_the_end() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let run = plant.run("three", json!({})).await;
    for attempt in 1..=control::MAX_LOST_ATTEMPTS {
        let mut victim = plant.worker(&format!("victim-{attempt}")).await;
        victim.ready(1).await;
        assert_eq!(victim.assigned().await.attempt, attempt);
        plant.clock.advance(LEASE_MS);
        while victim.receive().await {}
    }
    assert_eq!(plant.ended(run).await, RunStatus::Faulted);
    let error = plant.error(run).await;
    assert!(error["detail"].as_str().unwrap().contains("4 workers in a row were lost"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_its_worker_lost_is_handed_out_again_at_once() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let mut worker = plant.worker("w").await;
    worker.ready(2).await;
    plant.run("three", json!({})).await;
    let first = worker.assigned().await;
    worker.held.clear();
    worker.lose(first).await;
    let second = worker.assigned().await;
    assert_eq!((second.step, second.attempt), (first.step, 2));
    worker.lose(first).await;
    worker.finish(second).await;
    worker.acknowledged(second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drained_worker_gets_no_more_steps() {
    let plant = Plant::new().await;
    plant.publish(&three_steps()).await;
    let (mut drained, mut other) = (plant.worker("drained").await, plant.worker("other").await);
    drained.ready(4).await;
    plant.control.drain("drained").await.unwrap();
    while !drained.drained {
        drained.receive().await;
    }
    plant.run("three", json!({})).await;
    other.ready(1).await;
    other.assigned().await;
    drained.receive_all();
    assert!(drained.held.is_empty());
    assert!(
        plant
            .control
            .workers()
            .await
            .unwrap()
            .iter()
            .any(|worker| worker.name == "drained" && worker.draining)
    );
    let unknown = plant.control.drain("nobody").await.expect_err("no such worker");
    assert!(matches!(unknown, control::ControlError::NoSuchWorker(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn steps_go_to_workers_that_offer_what_they_need() {
    let plant = Plant::new().await;
    let gpu = json!({ "execution": { "requires": { "gpu": "1" } } });
    let task = json!({ "call": "noop", "with": { "n": 1 }, "metadata": gpu });
    plant.publish(&document("gpu", &json!([{ "train": task }]))).await;
    let mut plain = plant.worker("plain").await;
    plain.ready(4).await;
    let run = plant.run("gpu", json!({})).await;
    let class = plant.durable.steps(run, None, 1).await.unwrap()[0].class.clone();
    assert_eq!(plant.control.waiting_reason(&class).as_deref(), Some("no worker offers gpu=1"));
    plant.enrol("gpu").await;
    let mut hello = plain_hello();
    hello.labels.insert("gpu".to_owned(), "1".to_owned());
    let mut fitting = FakeWorker::connect(&plant.control, "gpu", hello).await;
    fitting.ready(1).await;
    assert_eq!(fitting.assigned().await.run, run);
    assert_eq!(plant.control.waiting_reason(&class), None);
    plain.receive_all();
    assert!(plain.held.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn more_ready_steps_than_the_window_are_all_handed_out_in_order() {
    const RUNS: usize = 300;
    let store = std::sync::Arc::new(store::memory::MemoryStore::new());
    let plant = Plant::with(store, |config| config.ready_window = 16).await;
    plant.publish(&document("one", &json!([{ "one": { "call": "noop", "with": { "n": 1 } } }]))).await;
    let mut worker = plant.worker("w").await;
    let mut runs = Vec::new();
    for _ in 0..RUNS {
        runs.push(plant.run("one", json!({})).await);
        plant.clock.advance(1);
    }
    assert!(plant.control.metrics().steps_ready.value() <= 16);
    worker.ready(1).await;
    let mut order = Vec::new();
    while order.len() < RUNS {
        let attempt = worker.assigned().await;
        worker.ready(1).await;
        worker.finish(attempt).await;
        worker.acknowledged(attempt).await;
        order.push(attempt.run);
    }
    assert_eq!(order, runs, "first come, first served");
}
