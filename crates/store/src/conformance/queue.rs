//! Steps in the queue, at their workers, and timers.

use protocol::id::{AttemptId, RunId, StepId, TimerId};
use protocol::step::Artifact;

use super::samples::*;
use super::workers::worker;
use crate::{ReadyCursor, Refusal, StepChange, StepState, Store, Timer, TimerChange, Turn};

/// A step is leased, started, released, leased again and finished; each state shows.
pub async fn a_step_goes_from_worker_to_worker(store: &dyn Store) {
    taken(store, Turn { steps: vec![ready(1)], ..create(1) }).await;
    taken(store, change(1, vec![lease(1, 1, "w1")])).await;
    let leases = store.worker_leases("w1").await.expect("leases");
    assert_eq!(leases[0].attempt, AttemptId { run: run(1), step: StepId(1), attempt: 1 });
    assert!(!leases[0].started);

    taken(store, change(1, vec![start(1, 1)])).await;
    assert!(store.worker_leases("w1").await.expect("leases")[0].started);
    taken(store, change(1, vec![release(1, 1)])).await;
    assert!(store.worker_leases("w1").await.expect("leases").is_empty());
    assert_eq!(store.ready_steps("any", None, 10).await.expect("ready")[0].attempt, 1);

    taken(store, change(1, vec![lease(1, 2, "w2")])).await;
    let file = Artifact { path: "out.txt".to_owned(), size: 3, sha256: "ab".repeat(32) };
    let end = StepChange::Finished {
        step: StepId(1),
        attempt: 2,
        state: StepState::Failed,
        at: at(40),
        artifacts: vec![file.clone()],
        error: Some(text("\"no\"")),
    };
    taken(store, change(1, vec![end])).await;
    let step = store.steps(run(1), None, 10).await.expect("steps").remove(0);
    assert_eq!((step.state, step.attempt, step.worker.as_deref()), (StepState::Failed, 2, Some("w2")));
    assert_eq!((step.sandbox, step.started_at, step.leased_at), (None, None, Some(at(20))));
    assert_eq!(
        (step.artifacts, step.error, step.finished_at),
        (vec![file], Some(text("\"no\"")), Some(at(40)))
    );
    assert_eq!((step.name.as_str(), step.task.as_str()), ("work", "/do/1/work"));
}

/// A change that names another attempt, or starts from another state, is refused: the fence around each attempt.
pub async fn stale_reports_are_refused(store: &dyn Store) {
    taken(store, Turn { steps: vec![ready(1)], ..create(1) }).await;
    let stale = async |changes: Vec<StepChange>| {
        let refusal = refused(store, change(1, changes.clone())).await;
        assert!(matches!(refusal, Refusal::Stale { .. }), "{changes:?}: {refusal:?}");
    };
    stale(vec![finish(1, 0)]).await; // never leased
    stale(vec![lease(1, 2, "w")]).await; // skips an attempt
    stale(vec![lease(2, 1, "w")]).await; // no such step
    stale(vec![ready(1)]).await; // exists already

    taken(store, change(1, vec![lease(1, 1, "w1")])).await;
    stale(vec![lease(1, 1, "w2")]).await; // leased twice
    stale(vec![lease(1, 2, "w2")]).await;
    taken(store, change(1, vec![release(1, 1)])).await;
    stale(vec![start(1, 1)]).await; // the first worker is late
    stale(vec![finish(1, 1)]).await;
    stale(vec![release(1, 1)]).await;

    taken(store, change(1, vec![lease(1, 2, "w2")])).await;
    stale(vec![finish(1, 1)]).await;
    taken(store, change(1, vec![start(1, 2)])).await;
    stale(vec![start(1, 2)]).await;
    taken(store, change(1, vec![finish(1, 2)])).await;
    stale(vec![finish(1, 2)]).await; // reported twice
    stale(vec![release(1, 2)]).await;
    stale(vec![lease(1, 3, "w2")]).await;
    // A step that has ended stays so, and that is no error.
    taken(store, change(1, vec![StepChange::Cancelled { step: StepId(1), at: at(50) }])).await;
    assert_eq!(store.steps(run(1), None, 1).await.expect("steps")[0].state, StepState::Completed);

    taken(store, change(1, vec![ready(2), lease(2, 1, "w2")])).await;
    taken(store, change(1, vec![StepChange::Cancelled { step: StepId(2), at: at(51) }])).await;
    stale(vec![finish(2, 1)]).await; // ended by us before its worker reported
}

/// Ready steps come by class, higher priority first, then first come first served, in pages.
pub async fn ready_steps_come_by_class_and_place(store: &dyn Store) {
    let step = |step, class: &str, priority, ready_at| {
        let mut new = new_step(step);
        (new.class, new.priority, new.at) = (class.to_owned(), priority, at(ready_at));
        StepChange::Ready(new)
    };
    let steps = vec![
        step(1, "b", 0, 5),
        step(2, "b", 0, 4),
        step(3, "b", 9, 6),
        step(4, "b", -1, 1),
        step(5, "a", 0, 1),
    ];
    taken(store, Turn { steps, ..create(1) }).await;
    taken(store, Turn { steps: vec![step(1, "b", 0, 4), step(2, "c", 0, 1), lease(2, 1, "w")], ..create(2) })
        .await;

    assert_eq!(store.ready_classes().await.expect("classes"), ["a", "b"]);
    let mut found: Vec<(RunId, u32)> = Vec::new();
    let mut after: Option<ReadyCursor> = None;
    loop {
        let page = store.ready_steps("b", after, 2).await.expect("ready");
        found.extend(page.iter().map(|step| (step.place.run, step.place.step.0)));
        after = page.last().map(|step| step.place);
        if page.len() < 2 {
            break;
        }
    }
    assert_eq!(found, [(run(1), 3), (run(1), 2), (run(2), 1), (run(1), 1), (run(1), 4)]);
    let first = store.ready_steps("a", None, 1).await.expect("ready").remove(0);
    assert_eq!((first.namespace.as_str(), first.workflow.as_str(), first.attempt), ("acme", "report", 0));
    assert_eq!(first.spec, new_step(5).spec);
}

/// Workers that hold steps beyond their time are found; those that hold none are not.
pub async fn leases_of_dead_workers_are_found(store: &dyn Store) {
    for name in ["alive", "dead", "idle"] {
        store.enrol_worker(worker(name)).await.expect("enrol");
    }
    let steps =
        vec![ready(1), lease(1, 1, "alive"), ready(2), lease(2, 1, "dead"), ready(3), lease(3, 1, "ghost")];
    taken(store, Turn { steps, ..create(1) }).await;
    store
        .touch_workers(vec![("alive".to_owned(), at(200)), ("dead".to_owned(), at(99))])
        .await
        .expect("touch");
    assert_eq!(store.expired_workers(at(100)).await.expect("expired"), ["dead", "ghost"]);
    assert_eq!(store.expired_workers(at(99)).await.expect("expired"), ["ghost"]);
    taken(store, change(1, vec![release(2, 1), finish(3, 1)])).await;
    assert!(store.expired_workers(at(100)).await.expect("expired").is_empty());
}

/// Timers come when they are due, earliest first, until they are cleared.
pub async fn timers_come_when_due(store: &dyn Store) {
    let set = |timer, ms| TimerChange::Set { timer: TimerId(timer), at: at(ms) };
    assert_eq!(store.next_timer_at().await.expect("next"), None);
    taken(store, Turn { timers: vec![set(1, 30), set(2, 10)], ..create(1) }).await;
    taken(store, Turn { timers: vec![set(1, 20)], ..create(2) }).await;
    assert_eq!(store.next_timer_at().await.expect("next"), Some(at(10)));
    assert!(store.due_timers(at(9), 10).await.expect("due").is_empty());
    let due = store.due_timers(at(20), 10).await.expect("due");
    let timer = |number, timer, ms| Timer { at: at(ms), run: run(number), timer: TimerId(timer) };
    assert_eq!(due, [timer(1, 2, 10), timer(2, 1, 20)]);
    assert_eq!(store.due_timers(at(20), 1).await.expect("due"), [timer(1, 2, 10)]);

    let clear = TimerChange::Clear { timer: TimerId(2) };
    let unknown = TimerChange::Clear { timer: TimerId(77) };
    taken(store, Turn { timers: vec![clear, unknown, set(1, 5)], ..Turn::of(run(1)) }).await;
    assert_eq!(store.due_timers(at(20), 10).await.expect("due"), [timer(1, 1, 5), timer(2, 1, 20)]);
}
