//! Turns: what is stored, what is refused, and that it is all or nothing.

use bytes::Bytes;
use protocol::id::{StepId, TimerId};

use super::samples::*;
use crate::{
    Idempotency, Parent, Refusal, RunStatus, RunValues, Snapshot, StepChange, StepState, Store,
    SummaryChange, Timer, TimerChange, Turn, TurnOutcome,
};

/// A run is made, advanced with a snapshot, and loaded as it is.
pub async fn a_run_is_made_and_advanced(store: &dyn Store) {
    let mut new = new_run("acme", "report");
    new.labels.insert("team".to_owned(), "blue".to_owned());
    new.parent = Some(Parent { run: run(9), child: 4 });
    new.input = text("{\"a\":1}");
    assert_eq!(
        taken(store, Turn { create: Some(new), events: vec![event("one")], ..Turn::of(run(1)) }).await,
        1
    );

    let found = store.load_run(run(1)).await.expect("load").expect("the run is there");
    assert_eq!(found.summary.status, RunStatus::Pending);
    assert_eq!(found.summary.labels["team"], "blue");
    assert_eq!(found.summary.parent, Some(Parent { run: run(9), child: 4 }));
    assert_eq!(found.snapshot, None);
    assert_eq!(found.events.len(), 1);

    let turn = Turn {
        events: vec![event("two"), event("three")],
        snapshot: Some(text("state 3")),
        summary: Some(summary(RunStatus::Running)),
        steps: vec![ready(1)],
        timers: vec![TimerChange::Set { timer: TimerId(1), at: at(50) }],
        ..advance(1, 1)
    };
    assert_eq!(taken(store, turn).await, 3);
    assert_eq!(taken(store, advance(1, 3)).await, 4);

    let found = store.load_run(run(1)).await.expect("load").expect("the run is there");
    assert_eq!(found.summary.status, RunStatus::Running);
    assert_eq!(found.summary.version, 4);
    assert_eq!(found.snapshot, Some(Snapshot { version: 3, state: text("state 3") }));
    assert_eq!(found.events.iter().map(|entry| entry.number).collect::<Vec<_>>(), [4]);
    assert_eq!(found.open_steps.len(), 1);
    assert_eq!(found.timers, [Timer { at: at(50), run: run(1), timer: TimerId(1) }]);

    let history = store.history(run(1), 1, 2).await.expect("history");
    assert_eq!(history.iter().map(|entry| entry.number).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(history[0].event, text("two"));
    assert_eq!(store.load_run(run(2)).await.expect("load"), None);
    assert_eq!(store.run_values(run(2)).await.expect("values"), None);
}

/// A turn for another version, for no run, or for a run that exists already is refused.
pub async fn versions_are_checked(store: &dyn Store) {
    assert_eq!(refused(store, advance(1, 0)).await, Refusal::UnknownRun(run(1)));
    taken(store, create(1)).await;
    assert_eq!(refused(store, create(1)).await, Refusal::RunExists(run(1)));
    assert_eq!(refused(store, advance(1, 0)).await, Refusal::Conflict { expected: 0, actual: 1 });
    assert_eq!(refused(store, advance(1, 2)).await, Refusal::Conflict { expected: 2, actual: 1 });
    assert_eq!(taken(store, advance(1, 1)).await, 2);

    let blind = Turn { expected_version: None, ..advance(1, 2) };
    store.commit(vec![blind]).await.expect_err("events need a version");
}

/// Of a refused turn nothing is stored, and the turns around it are.
pub async fn a_refused_turn_leaves_nothing(store: &dyn Store) {
    taken(store, create(1)).await;
    let mut stale = advance(1, 1);
    stale.summary = Some(summary(RunStatus::Completed));
    stale.snapshot = Some(text("wrong"));
    stale.timers = vec![TimerChange::Set { timer: TimerId(1), at: at(5) }];
    stale.steps = vec![ready(1), lease(1, 1, "w"), finish(1, 2)];
    let outcomes = store.commit(vec![create(2), stale, create(3)]).await.expect("commit");
    assert_eq!(outcomes[0], TurnOutcome::Committed { version: 1 });
    assert!(matches!(&outcomes[1], TurnOutcome::Refused(Refusal::Stale { step: StepId(1), attempt: 2, .. })));
    assert_eq!(outcomes[2], TurnOutcome::Committed { version: 1 });

    let found = store.load_run(run(1)).await.expect("load").expect("the run is there");
    assert_eq!((found.summary.version, found.summary.status), (1, RunStatus::Pending));
    assert_eq!((found.snapshot, found.events.len()), (None, 1));
    assert!(found.open_steps.is_empty() && found.timers.is_empty());
    let counts = store.counts(None).await.expect("counts");
    assert_eq!((counts.runs(RunStatus::Pending), counts.steps(StepState::Ready)), (3, 0));
}

/// Within a batch a turn sees what the turns before it did.
pub async fn turns_see_the_turns_before_them(store: &dyn Store) {
    let outcomes =
        store.commit(vec![create(1), advance(1, 1), advance(1, 1), advance(1, 2)]).await.expect("commit");
    assert_eq!(outcomes[1], TurnOutcome::Committed { version: 2 });
    assert_eq!(outcomes[2], TurnOutcome::Refused(Refusal::Conflict { expected: 1, actual: 2 }));
    assert_eq!(outcomes[3], TurnOutcome::Committed { version: 3 });
}

/// "Step done, next step ready, next step leased" is one turn.
pub async fn one_turn_ends_a_step_and_leases_the_next(store: &dyn Store) {
    taken(store, Turn { steps: vec![ready(1), lease(1, 1, "w")], ..create(1) }).await;
    let turn = Turn { steps: vec![finish(1, 1), ready(2), lease(2, 1, "w")], ..advance(1, 1) };
    taken(store, turn).await;

    let steps = store.steps(run(1), None, 10).await.expect("steps");
    assert_eq!(
        steps.iter().map(|step| step.state).collect::<Vec<_>>(),
        [StepState::Completed, StepState::Leased]
    );
    let leases = store.worker_leases("w").await.expect("leases");
    assert_eq!(leases.iter().map(|lease| lease.attempt.step.0).collect::<Vec<_>>(), [2]);
    assert_eq!(store.ready_classes().await.expect("classes"), Vec::<String>::new());
    assert_eq!(store.step_spec(run(1), StepId(2)).await.expect("spec"), Some(new_step(2).spec));
}

/// An idempotency key makes one run of a request, and none of another request; namespaces are apart.
pub async fn a_key_makes_one_run(store: &dyn Store) {
    let keyed = |number, namespace: &str, request| {
        let mut turn = create(number);
        let new = turn.create.as_mut().expect("it makes a run");
        new.namespace = namespace.to_owned();
        new.idempotency = Some(Idempotency { key: "k".to_owned(), request_sha256: [request; 32] });
        turn
    };
    let outcomes = store.commit(vec![keyed(1, "acme", 1), keyed(2, "acme", 1)]).await.expect("commit");
    assert_eq!(outcomes, [TurnOutcome::Committed { version: 1 }, TurnOutcome::Repeated { run: run(1) }]);
    assert_eq!(commit(store, keyed(1, "acme", 1)).await, TurnOutcome::Repeated { run: run(1) });
    assert_eq!(refused(store, keyed(3, "acme", 2)).await, Refusal::KeyReused { run: run(1) });
    assert_eq!(taken(store, keyed(4, "other", 2)).await, 1);

    assert_eq!(store.run_of_key("acme", "k").await.expect("key"), Some(run(1)));
    assert_eq!(store.run_of_key("acme", "x").await.expect("key"), None);
    assert_eq!(store.run_summary(run(2)).await.expect("summary"), None);
}

/// A run ends, with its results, and is unfinished again when it is retried.
pub async fn a_run_is_retried(store: &dyn Store) {
    taken(store, create(1)).await;
    let failed = SummaryChange { error: Some(text("\"oh\"")), ..summary(RunStatus::Faulted) };
    taken(store, Turn { summary: Some(failed), ..advance(1, 1) }).await;
    assert!(store.unfinished_runs(None, 10).await.expect("unfinished").is_empty());
    let found = store.run_summary(run(1)).await.expect("summary").expect("the run is there");
    assert_eq!((found.status, found.finished_at), (RunStatus::Faulted, Some(at(3))));

    taken(store, Turn { summary: Some(summary(RunStatus::Running)), ..advance(1, 2) }).await;
    assert_eq!(store.unfinished_runs(None, 10).await.expect("unfinished"), [run(1)]);
    let found = store.run_summary(run(1)).await.expect("summary").expect("the run is there");
    assert_eq!((found.status, found.finished_at), (RunStatus::Running, None));
    let values = store.run_values(run(1)).await.expect("values").expect("the run is there");
    assert_eq!(values, RunValues { input: text("{}"), output: None, error: None });

    let done = SummaryChange { output: Some(text("7")), ..summary(RunStatus::Completed) };
    taken(store, Turn { summary: Some(done), ..advance(1, 3) }).await;
    let values = store.run_values(run(1)).await.expect("values").expect("the run is there");
    assert_eq!(values.output, Some(text("7")));
}

/// Values of any size and content come back as they were given, wherever they may stand.
pub async fn large_values_come_back(store: &dyn Store) {
    let large = |byte: u8| Bytes::from(vec![byte; 1024 * 1024]);
    let odd = Bytes::from_static(&[0xF5, 1, 2, 3]);
    let mut turn = create(1);
    turn.create.as_mut().expect("it makes a run").input = large(b'i');
    turn.events = vec![event(""), event("")];
    turn.events[0].event = large(b'e');
    turn.events[0].notes = odd.clone();
    turn.events[1].event = odd.clone();
    let mut step = new_step(1);
    step.spec = large(b's');
    turn.steps = vec![StepChange::Ready(step)];
    taken(store, turn).await;
    assert_eq!(store.ready_steps("any", None, 1).await.expect("ready")[0].spec, large(b's'));
    assert_eq!(store.step_spec(run(1), StepId(1)).await.expect("spec"), Some(large(b's')));
    let found = store.load_run(run(1)).await.expect("load").expect("the run is there");
    assert_eq!((&found.events[0].event, &found.events[0].notes), (&large(b'e'), &odd));

    let failed = StepChange::Finished {
        step: StepId(1),
        attempt: 1,
        state: StepState::Failed,
        at: at(9),
        artifacts: Vec::new(),
        error: Some(large(b'f')),
    };
    let end = SummaryChange {
        output: Some(large(b'o')),
        error: Some(odd.clone()),
        ..summary(RunStatus::Completed)
    };
    let turn = Turn {
        steps: vec![lease(1, 1, "w"), failed],
        snapshot: Some(large(b'n')),
        summary: Some(end),
        ..advance(1, 2)
    };
    taken(store, turn).await;
    let values = store.run_values(run(1)).await.expect("values").expect("the run is there");
    assert_eq!(values, RunValues { input: large(b'i'), output: Some(large(b'o')), error: Some(odd.clone()) });
    let found = store.load_run(run(1)).await.expect("load").expect("the run is there");
    assert_eq!(found.snapshot, Some(Snapshot { version: 3, state: large(b'n') }));
    assert_eq!(store.steps(run(1), None, 1).await.expect("steps")[0].error, Some(large(b'f')));
    let history = store.history(run(1), 0, 10).await.expect("history");
    assert_eq!((&history[0].event, &history[1].event), (&large(b'e'), &odd));
}
