//! What a run may take: its state does not grow with the steps behind it, and a turn of it ends.

mod support;

use std::time::Instant;

use planner::{Action, Event, Run, RunOutcome, Status, limits};
use protocol::id::Timestamp;
use serde_json::{Value, json};
use support::{START, completed, info, parse};

const COUNTING_LOOP: &str = "
document: { dsl: '1.0.3', namespace: test, name: counting, version: '1.0.0' }
do:
  - work: { call: noop, with: { n: '${ .n + 1 }' } }
  - again:
      switch:
        - more: { when: '${ .n < 100000 }', then: work }
        - enough: { then: end }
";

const FOR_LOOP: &str = "
document: { dsl: '1.0.3', namespace: test, name: for-loop, version: '1.0.0' }
do:
  - each:
      for: { each: item, in: '${ [range(0; 2000)] }' }
      do:
        - work: { call: noop, with: { n: '${ $item }' } }
";

const ENDLESS: &str = "
document: { dsl: '1.0.3', namespace: test, name: endless, version: '1.0.0' }
do:
  - spin: { set: { a: 1 }, then: spin }
";

const THREE_STEPS: &str = "
document: { dsl: '1.0.3', namespace: test, name: three, version: '1.0.0' }
do:
  - first: { call: noop, with: { a: 1 } }
  - second: { call: noop, with: { b: 2 } }
  - third: { call: noop, with: { c: 3 } }
";

/// Answers every step with what it was given, until the run ends; `each` sees the run after every step.
fn drive(document: &str, mut each: impl FnMut(u32, &Run)) -> RunOutcome {
    let mut run = Run::new(info(), parse(document));
    let mut event = Event::Started { input: json!({ "n": 0 }), at: START };
    let mut steps = 0;
    loop {
        let mut next = None;
        for action in run.apply(&event).expect("an event in order") {
            match action {
                Action::StartStep { step, spec } => {
                    let protocol::step::Work::Noop { value } = spec.work else { panic!("only no-ops") };
                    next = Some(completed(step.0, value, START));
                }
                Action::Yield => next = Some(Event::Continued { at: START }),
                Action::Finish(outcome) => return outcome,
                _ => {}
            }
        }
        steps += 1;
        each(steps, &run);
        event = next.expect("the run goes on");
    }
}

#[test]
fn a_run_of_a_hundred_thousand_steps_ends_and_does_not_grow() {
    let mut early = 0;
    let outcome = drive(COUNTING_LOOP, |step, run| match step {
        10 => early = run.snapshot().len(),
        10_000 | 90_000 => {
            let late = run.snapshot().len();
            assert!(late * 10 <= early * 12, "{early} bytes after 10 steps, {late} after {step}");
        }
        _ => {}
    });
    let RunOutcome::Completed { output } = outcome else { panic!("{outcome:?}") };
    assert_eq!(output["n"], json!(100_000));
}

#[test]
fn iterations_leave_nothing_behind() {
    let mut early = 0;
    drive(FOR_LOOP, |step, run| match step {
        10 => early = run.snapshot().len(),
        1_900 => assert!(run.snapshot().len() <= early + 64),
        _ => {}
    });
}

#[test]
fn an_endless_loop_yields_and_can_be_cancelled() {
    let mut run = Run::new(info(), parse(ENDLESS));
    let mut actions = run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    for _ in 0..50 {
        assert_eq!(actions.iter().filter(|action| **action == Action::Yield).count(), 1);
        assert!(actions.len() <= 3 * limits::MAX_TRANSITIONS_PER_TURN as usize);
        assert_eq!(run.status(), Status::Running);
        actions = run.apply(&Event::Continued { at: START }).expect("an answer to a yield");
    }
    let cancel = Event::CancelRequested { reason: "endless".to_owned(), at: START };
    run.apply(&cancel).expect("a cancel");
    assert_eq!(run.status(), Status::Cancelled);
    assert!(run.apply(&Event::Continued { at: START }).is_err(), "the yield went with the run");
}

#[test]
fn costly_expressions_end_a_turn_too() {
    let document = "
document: { dsl: '1.0.3', namespace: test, name: costly, version: '1.0.0' }
do:
  - spin: { set: { sum: '${ [range(0; 5000)] | add }' }, then: spin }
";
    let mut run = Run::new(info(), parse(document));
    let actions = run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    assert!(actions.contains(&Action::Yield));
    let transitions = actions.iter().filter(|action| matches!(action, Action::Note(_))).count() / 2;
    assert!(transitions < limits::MAX_TRANSITIONS_PER_TURN as usize / 2, "{transitions} in one turn");
}

#[test]
fn an_endless_expression_faults_its_run() {
    let document = "
document: { dsl: '1.0.3', namespace: test, name: endless-expression, version: '1.0.0' }
do:
  - spin: { set: { never: '${ last(repeat(1)) }' } }
";
    let mut run = Run::new(info(), parse(document));
    let actions = run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    let Some(Action::Finish(RunOutcome::Faulted { error })) = actions.last() else { panic!("{actions:?}") };
    assert!(error.kind.ends_with("/expression"), "{error:?}");
    assert_eq!(error.instance, "/do/0/spin");
}

#[test]
fn tasks_too_deep_within_each_other_fault_their_run() {
    let mut functions = serde_json::Map::new();
    for level in 0..limits::MAX_DEPTH {
        let inner = json!({ "call": format!("f{}", level + 1), "with": {} });
        functions.insert(format!("f{level}"), inner);
    }
    functions.insert(format!("f{}", limits::MAX_DEPTH), json!({ "set": { "x": 1 } }));
    let document = json!({
        "document": { "dsl": "1.0.3", "namespace": "test", "name": "deep", "version": "1.0.0" },
        "use": { "functions": functions },
        "do": [ { "outer": { "call": "f0", "with": {} } } ],
    });
    let mut run = Run::new(info(), parse(&document.to_string()));
    let mut actions = run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    while actions.contains(&Action::Yield) {
        actions = run.apply(&Event::Continued { at: START }).expect("an answer to a yield");
    }
    let Some(Action::Finish(RunOutcome::Faulted { error })) = actions.last() else { panic!("{actions:?}") };
    assert!(error.detail.contains("deep"), "{error:?}");
}

#[test]
fn a_value_that_is_too_large_faults_its_run() {
    let mut run = Run::new(info(), parse(THREE_STEPS));
    run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    let large = Value::String("x".repeat(limits::MAX_VALUE_BYTES));
    let actions = run.apply(&completed(1, large, START)).expect("a step's end");
    let Some(Action::Finish(RunOutcome::Faulted { error })) = actions.last() else { panic!("{actions:?}") };
    assert!(error.detail.contains("MiB"), "{error:?}");
}

#[test]
fn forks_that_multiply_fault_their_run() {
    let fork = |inner: &str| {
        let branches: Vec<Value> =
            (0..40).map(|index| json!({ format!("b{index}"): { "call": inner, "with": {} } })).collect();
        json!({ "fork": { "branches": branches } })
    };
    let document = json!({
        "document": { "dsl": "1.0.3", "namespace": "test", "name": "wide", "version": "1.0.0" },
        "use": { "functions": { "a": fork("b"), "b": fork("c"), "c": { "wait": { "hours": 1 } } } },
        "do": [ { "all": fork("a") } ],
    });
    let mut run = Run::new(info(), parse(&document.to_string()));
    let mut actions = run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    while actions.contains(&Action::Yield) {
        assert!(actions.len() < 100 * limits::MAX_TRANSITIONS_PER_TURN as usize);
        actions = run.apply(&Event::Continued { at: START }).expect("an answer to a yield");
    }
    let Some(Action::Finish(RunOutcome::Faulted { error })) = actions.last() else {
        panic!("{:?}", run.status())
    };
    assert!(error.detail.contains("in progress at once"), "{error:?}");
}

#[test]
fn branches_may_not_be_too_large_together() {
    let document = "
document: { dsl: '1.0.3', namespace: test, name: wide, version: '1.0.0' }
do:
  - wide: { fork: { branches: [ { a: { call: noop, with: {} } }, { b: { call: noop, with: {} } }, { c: { call: noop, with: {} } } ] } }
";
    let mut run = Run::new(info(), parse(document));
    run.apply(&Event::Started { input: json!({}), at: START }).expect("a start");
    let large = Value::String("x".repeat(limits::MAX_VALUE_BYTES * 2 / 3));
    run.apply(&completed(1, large.clone(), START)).expect("a step's end");
    let actions = run.apply(&completed(3, large, START)).expect("a step's end");
    let Some(Action::Finish(RunOutcome::Faulted { error })) = actions.last() else { panic!("{actions:?}") };
    assert!(error.detail.contains("together"), "{error:?}");
    assert!(actions.contains(&Action::CancelStep { step: protocol::id::StepId(2) }));
}

/// `cargo test -p planner --release --test growth -- --ignored --nocapture`
#[test]
#[ignore = "a measurement, not a test"]
fn cost_of_a_step() {
    const RUNS: u32 = 20_000;
    let workflow = parse(THREE_STEPS);
    let mut times: Vec<u128> = Vec::new();
    for round in 0..5 {
        let start = Instant::now();
        let mut bytes = 0;
        for number in 0..RUNS {
            let at = Timestamp(START.0 + i64::from(number));
            let mut run = Run::new(info(), workflow.clone());
            run.apply(&Event::Started { input: json!({}), at }).expect("a start");
            for step in 1..=3 {
                run.apply(&completed(step, json!({ "step": step }), at)).expect("a step's end");
                if round % 2 == 1 {
                    bytes += run.snapshot().len();
                }
            }
            assert_eq!(run.status(), Status::Completed);
        }
        let per_step = start.elapsed().as_nanos() / u128::from(RUNS * 3);
        eprintln!("{per_step} ns a step, {} bytes of snapshot", bytes / (RUNS as usize * 3));
        times.push(per_step);
    }
    let start = Instant::now();
    drive(COUNTING_LOOP, |_, _| {});
    eprintln!("{} ns a step of a loop with two expressions", start.elapsed().as_nanos() / 100_000);
}

/// A loop whose every round is caught by a `try` of its own: what ends it may not be caught.
const CAUGHT: &str = "
document: { dsl: '1.0.3', namespace: test, name: caught, version: '1.0.0' }
do:
  - spin: { try: [ { work: { set: { a: 1 } } } ], catch: { do: [ { go: { set: { b: 1 } } } ] }, then: spin }
";

/// A loop that waits once a round.
const WAITING: &str = "
document: { dsl: '1.0.3', namespace: test, name: waiting, version: '1.0.0' }
do:
  - pause: { wait: { seconds: 1 } }
  - again: { set: { a: 1 }, then: pause }
";

/// The number of the counter in a snapshot, and the snapshot with another one.
fn with_counter(run: &Run, count: u32) -> Run {
    let mut snapshot: Value = serde_json::from_slice(&run.snapshot()).expect("a snapshot is JSON");
    snapshot["state"]["tasks_without_wait"] = json!(count);
    Run::restore(info(), run.workflow().clone(), snapshot.to_string().as_bytes()).expect("it is restored")
}

#[test]
fn a_run_that_goes_in_circles_ends_with_a_clear_error() {
    for document in [ENDLESS, CAUGHT] {
        let mut run = Run::new(info(), parse(document));
        run.apply(&Event::Started { input: json!({}), at: START }).expect("it starts");
        let mut run = with_counter(&run, limits::MAX_TASKS_WITHOUT_WAIT - 100);
        let actions = run.apply(&Event::Continued { at: START }).expect("it goes on");
        let Some(Action::Finish(RunOutcome::Faulted { error })) = actions.last() else {
            panic!("{:?}", run.status())
        };
        assert!(error.detail.contains("without a step or a wait"), "{error:?}");
        assert!(error.instance.starts_with("/do/0/spin"), "{error:?}");

        let retried = run.apply(&Event::RetryRequested { at: START }).expect("it can be retried");
        assert!(matches!(retried.last(), Some(Action::Yield)), "a person may let it go on");
    }
}

#[test]
fn an_event_that_was_waited_for_makes_the_count_begin_anew() {
    let mut run = Run::new(info(), parse(WAITING));
    run.apply(&Event::Started { input: json!({}), at: START }).expect("it starts");
    for round in 1..=5 {
        run = with_counter(&run, limits::MAX_TASKS_WITHOUT_WAIT);
        let timer = protocol::id::TimerId(round);
        let at = Timestamp(START.0 + 1000 * i64::from(round));
        run.apply(&Event::TimerFired { timer, at }).expect("the timer was set");
        assert_eq!(run.status(), Status::Waiting);
    }
}
