//! Deleting runs that have ended.

use super::samples::*;
use crate::{Deleted, LogFilter, Parent, RunFilter, RunStatus, StepState, Store, TimerChange, Turn};
use protocol::id::{RunId, TimerId, Timestamp};

async fn delete(store: &dyn Store, number: u128) -> Deleted {
    loop {
        match store.delete_run(run(number), 2).await.expect("delete") {
            // Half of it is gone: nobody sees the other half.
            Deleted::More => assert_eq!(store.run_summary(run(number)).await.expect("summary"), None),
            end => return end,
        }
    }
}

/// What goes on, and what something needs that goes on, is kept.
pub async fn runs_that_are_needed_are_kept(store: &dyn Store) {
    taken(store, create(1)).await;
    assert_eq!(delete(store, 1).await, Deleted::Kept, "it goes on");

    let mut child = Turn { summary: Some(summary(RunStatus::Completed)), ..create(2) };
    child.create.as_mut().expect("it makes a run").parent = Some(Parent { run: run(1), child: 1 });
    taken(store, child).await;
    assert_eq!(delete(store, 2).await, Deleted::Kept, "its parent goes on");

    let open = Turn { steps: vec![ready(1)], summary: Some(summary(RunStatus::Completed)), ..create(3) };
    taken(store, open).await;
    assert_eq!(delete(store, 3).await, Deleted::Kept, "a step that nobody waits for goes on");

    let timers = vec![TimerChange::Set { timer: TimerId(1), at: Timestamp(1) }];
    taken(store, Turn { timers, summary: Some(summary(RunStatus::Completed)), ..create(4) }).await;
    assert_eq!(delete(store, 4).await, Deleted::Kept, "its parent is to be told");

    for number in 1..=4 {
        assert!(store.load_run(run(number)).await.expect("load").is_some(), "run {number} is whole");
    }
    taken(store, Turn { summary: Some(summary(RunStatus::Completed)), ..advance(1, 1) }).await;
    assert_eq!(delete(store, 2).await, Deleted::Gone, "its parent has ended");
    assert_eq!(delete(store, 2).await, Deleted::Gone, "nothing is left");
}

/// Nothing of a deleted run is found, and nothing of another is touched.
pub async fn a_deleted_run_leaves_nothing(store: &dyn Store) {
    for number in 1..=2 {
        let mut turn = Turn {
            steps: vec![ready(1), lease(1, 1, "w"), finish(1, 1)],
            summary: Some(summary(RunStatus::Completed)),
            ..create(number)
        };
        turn.create.as_mut().expect("it makes a run").labels.insert("k".to_owned(), "v".to_owned());
        taken(store, turn).await;
    }
    let far = Timestamp(i64::MAX / 1_000_000);
    assert_eq!(store.ended_runs(far, None, 9).await.expect("ended"), [run(1), run(2)]);
    assert_eq!(store.ended_runs(far, Some(run(1)), 9).await.expect("ended"), [run(2)]);
    assert_eq!(delete(store, 1).await, Deleted::Gone);
    assert_eq!(store.begun_deletions(9).await.expect("begun"), [] as [RunId; 0]);
    assert_eq!(store.ended_runs(far, None, 9).await.expect("ended"), [run(2)]);
    assert_eq!(store.steps(run(1), None, 9).await.expect("steps"), []);
    assert_eq!(store.history(run(1), 0, 9).await.expect("history"), []);
    assert_eq!(store.logs(LogFilter { run: run(1), step: None }, None, 9).await.expect("logs"), []);
    let label = RunFilter { label: Some(("k".to_owned(), "v".to_owned())), ..RunFilter::default() };
    assert_eq!(store.runs(&label, None, 9).await.expect("runs").len(), 1);
    let counts = store.counts(None).await.expect("counts");
    assert_eq!((counts.runs(RunStatus::Completed), counts.steps(StepState::Completed)), (1, 1));
    assert_eq!(store.steps(run(2), None, 9).await.expect("steps").len(), 1);
    // Its id is free, as that of a run that never was.
    taken(store, create(1)).await;
}
