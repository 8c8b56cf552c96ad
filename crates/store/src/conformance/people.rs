//! What people see: lists of runs, counts, workflows, tokens.

use super::samples::*;
use crate::{
    ApiToken, JoinToken, Parent, PublishOutcome, RunFilter, RunStatus, StepState, Store, StoreError, Turn,
    VersionWanted, Workflow, WorkflowFilter, WorkflowName,
};

/// Runs are listed from the newest, in pages, by any mix of filters.
pub async fn runs_are_listed_newest_first(store: &dyn Store) {
    for number in 1..=6 {
        let mut turn = create(number);
        let new = turn.create.as_mut().expect("it makes a run");
        if number > 3 {
            new.namespace = "other".to_owned();
        }
        if number % 2 == 0 {
            new.workflow = "even".to_owned();
            new.labels.insert("k".to_owned(), "v".to_owned());
            turn.summary = Some(summary(RunStatus::Faulted));
        }
        if number == 5 {
            new.parent = Some(Parent { run: run(1), child: 1 });
        }
        taken(store, turn).await;
    }
    let list = async |filter: RunFilter, before: Option<u128>, limit| -> Vec<u128> {
        let page = store.runs(&filter, before.map(run), limit).await.expect("runs");
        page.iter().map(|summary| summary.run.0.as_u128()).collect()
    };
    let all = RunFilter::default;
    let acme = || RunFilter { namespace: Some("acme".to_owned()), ..all() };
    assert_eq!(list(all(), None, 10).await, [6, 5, 4, 3, 2, 1]);
    assert_eq!(list(all(), None, 2).await, [6, 5]);
    assert_eq!(list(all(), Some(5), 2).await, [4, 3]);
    assert_eq!(list(acme(), None, 2).await, [3, 2]);
    assert_eq!(list(acme(), Some(2), 2).await, [1]);
    assert_eq!(list(RunFilter { workflow: Some("report".to_owned()), ..acme() }, None, 9).await, [3, 1]);
    let faulted = || RunFilter { status: Some(RunStatus::Faulted), ..all() };
    assert_eq!(list(faulted(), None, 2).await, [6, 4]);
    assert_eq!(list(faulted(), Some(4), 2).await, [2]);
    assert_eq!(list(RunFilter { namespace: Some("acme".to_owned()), ..faulted() }, None, 9).await, [2]);
    let label = Some(("k".to_owned(), "v".to_owned()));
    assert_eq!(list(RunFilter { label: label.clone(), ..all() }, Some(6), 9).await, [4, 2]);
    assert_eq!(
        list(RunFilter { label: Some(("k".to_owned(), "w".to_owned())), ..all() }, None, 9).await,
        [0; 0]
    );
    assert_eq!(list(RunFilter { label, ..acme() }, None, 9).await, [2]);
    assert_eq!(list(RunFilter { parent: Some(run(1)), ..all() }, None, 9).await, [5]);

    assert_eq!(store.unfinished_runs(None, 2).await.expect("unfinished"), [run(1), run(3)]);
    assert_eq!(store.unfinished_runs(Some(run(3)), 2).await.expect("unfinished"), [run(5)]);
}

/// Counts follow every change of a run or step.
pub async fn counts_follow_runs_and_steps(store: &dyn Store) {
    taken(
        store,
        Turn { steps: vec![ready(1), ready(2)], summary: Some(summary(RunStatus::Running)), ..create(1) },
    )
    .await;
    let mut other = create(2);
    other.create.as_mut().expect("it makes a run").namespace = "other".to_owned();
    taken(store, other).await;
    let counts = store.counts(None).await.expect("counts");
    assert_eq!((counts.runs(RunStatus::Running), counts.runs(RunStatus::Pending)), (1, 1));
    assert_eq!(counts.steps(StepState::Ready), 2);

    taken(store, change(1, vec![lease(1, 1, "w")])).await;
    let turn = Turn {
        steps: vec![finish(1, 1), lease(2, 1, "w"), start(2, 1)],
        summary: Some(summary(RunStatus::Completed)),
        ..advance(1, 1)
    };
    taken(store, turn).await;
    let counts = store.counts(Some("acme")).await.expect("counts");
    assert_eq!(RunStatus::ALL.map(|status| counts.runs(status)), [0, 0, 0, 0, 0, 1, 0, 0]);
    assert_eq!(StepState::ALL.map(|state| counts.steps(state)), [0, 0, 1, 1, 0, 0]);
    let counts = store.counts(Some("nowhere")).await.expect("counts");
    assert_eq!(RunStatus::ALL.map(|status| counts.runs(status)), [0; 8]);
}

/// A published version never changes; the latest is the highest release.
pub async fn workflows_never_change(store: &dyn Store) {
    let name = |name: &str, version: &str| WorkflowName {
        namespace: "acme".to_owned(),
        name: name.to_owned(),
        version: version.to_owned(),
    };
    let workflow = |full: WorkflowName, source: &str| Workflow {
        name: full,
        source: source.to_owned(),
        sha256: [source.len() as u8; 32],
        published_at: at(7),
    };
    for version in ["1.9.0", "1.10.0", "2.0.0-beta"] {
        let outcome = store.publish(workflow(name("report", version), "text")).await.expect("publish");
        assert_eq!(outcome, PublishOutcome::Published);
    }
    let again = Workflow { published_at: at(8), ..workflow(name("report", "1.9.0"), "text") };
    assert_eq!(store.publish(again).await.expect("publish"), PublishOutcome::Unchanged);
    let other = workflow(name("report", "1.9.0"), "another text");
    assert_eq!(store.publish(other).await.expect("publish"), PublishOutcome::Different);
    store.publish(workflow(name("zebra", "0.1.0"), "z")).await.expect("publish");

    let found = store.workflow("acme", "report", VersionWanted::Latest).await.expect("latest");
    assert_eq!(found.expect("it is there").name.version, "1.10.0");
    let found = store.workflow("acme", "report", VersionWanted::Exactly("1.9.0")).await.expect("exactly");
    assert_eq!(found, Some(workflow(name("report", "1.9.0"), "text")));
    assert_eq!(store.workflow("acme", "nothing", VersionWanted::Latest).await.expect("latest"), None);

    let versions = |page: Vec<Workflow>| page.into_iter().map(|found| found.name.version).collect::<Vec<_>>();
    let filter = WorkflowFilter { namespace: Some("acme".to_owned()), name: Some("report".to_owned()) };
    let page = store.workflows(&filter, None, 2).await.expect("list");
    assert!(page.iter().all(|found| found.source.is_empty()));
    assert_eq!(versions(page.clone()), ["1.10.0", "1.9.0"]);
    let rest = store.workflows(&filter, Some(&page[1].name), 2).await.expect("list");
    assert_eq!(versions(rest), ["2.0.0-beta"]);
    assert_eq!(store.workflows(&WorkflowFilter::default(), None, 10).await.expect("list").len(), 4);
}

/// Tokens are found by their hash until they are revoked or have expired.
pub async fn tokens_are_found_by_hash_until_revoked(store: &dyn Store) {
    let token = |id: &str, hash| ApiToken {
        id: id.to_owned(),
        hash: [hash; 32],
        name: "ci".to_owned(),
        role: "admin".to_owned(),
        created_at: at(1),
    };
    store.put_token(token("b", 1)).await.expect("put");
    store.put_token(token("a", 2)).await.expect("put");
    assert!(matches!(store.put_token(token("a", 3)).await, Err(StoreError::Exists { .. })));
    assert_eq!(store.token_by_hash(&[1; 32]).await.expect("find"), Some(token("b", 1)));
    assert_eq!(store.tokens().await.expect("list"), [token("a", 2), token("b", 1)]);
    assert!(store.revoke_token("b").await.expect("revoke"));
    assert!(!store.revoke_token("b").await.expect("revoke"));
    assert_eq!(store.token_by_hash(&[1; 32]).await.expect("find"), None);

    let join = JoinToken {
        id: "j".to_owned(),
        hash: [5; 32],
        name: "fleet".to_owned(),
        created_at: at(1),
        expires_at: Some(at(100)),
    };
    store.put_join_token(join.clone()).await.expect("put");
    assert!(matches!(store.put_join_token(join.clone()).await, Err(StoreError::Exists { .. })));
    assert_eq!(store.join_token_by_hash(&[5; 32], at(99)).await.expect("find"), Some(join.clone()));
    assert_eq!(store.join_token_by_hash(&[5; 32], at(100)).await.expect("find"), None);
    assert_eq!(store.join_tokens().await.expect("list"), [join]);
    assert!(store.revoke_join_token("j").await.expect("revoke"));
    assert!(!store.revoke_join_token("j").await.expect("revoke"));
    assert_eq!(store.join_token_by_hash(&[5; 32], at(1)).await.expect("find"), None);
}
