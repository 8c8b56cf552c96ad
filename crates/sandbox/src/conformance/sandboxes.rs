//! Sandboxes among themselves: each for one step, with its own key, beside others, and refused where a layer is absent.

use futures_util::future::try_join_all;

use super::files::{Memory, all};
use super::run;
use crate::suite::{Case, Subject, Why, done, ensure, told};
use crate::{SandboxError, Session};

/// Sandboxes at once.
const SIDE_BY_SIDE: usize = 6;

pub(super) const CASES: &[Case] = &[
    Case { name: "a-session-runs-one-step", defence: "", needs: &[], run: |s| Box::pin(once(s)) },
    Case { name: "absent-layers-refuse-the-start", defence: "", needs: &[], run: |s| Box::pin(layers(s)) },
    Case {
        name: "sandboxes-run-side-by-side-each-with-its-own-key",
        defence: "",
        needs: &[],
        run: |s| Box::pin(side_by_side(s)),
    },
];

async fn once(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let early = session.collect(&all("**"), &mut Memory::default()).await;
    ensure(matches!(early, Err(SandboxError::Order(_))), || format!("{early:?}"))?;
    let ran = run(&mut session, subject.probe(["exit", "0"])).await;
    ensure(ran.code() == Some(0), || format!("{ran:?}"))?;
    let again = run(&mut session, subject.probe(["exit", "0"])).await;
    ensure(matches!(again.exit, Err(SandboxError::Order(_))), || format!("{again:?}"))?;
    done(session).await
}

/// All layers that hold are required of one sandbox, each that does not of one of its own.
async fn layers(subject: &Subject) -> Result<(), Why> {
    let create = async || subject.backend.create(&subject.template).await.map_err(told);
    let reports = subject.backend.layers().await.map_err(told)?;
    let enforced: Vec<_> =
        reports.iter().filter(|report| report.enforced).map(|report| report.layer).collect();
    let session = Session::open(create().await?, &enforced).await.map_err(told)?;
    done(session).await?;
    for report in reports.iter().filter(|report| !report.enforced) {
        ensure(!report.note.is_empty(), || format!("{report:?} has no remedy"))?;
        match Session::open(create().await?, &[report.layer]).await {
            Err(SandboxError::LayersAbsent(_)) => {}
            Ok(_) => Err(format!("{report:?} did not refuse the start"))?,
            Err(error) => Err(format!("{report:?}: {error}"))?,
        }
    }
    Ok(())
}

async fn side_by_side(subject: &Subject) -> Result<(), Why> {
    let mut sessions = try_join_all((0..SIDE_BY_SIDE).map(|_| subject.open())).await?;
    let mut keys: Vec<_> = sessions.iter().map(|session| *session.guest_public_key()).collect();
    keys.sort_unstable();
    keys.dedup();
    ensure(keys.len() == SIDE_BY_SIDE, || "guests share a key".to_owned())?;
    let steps = sessions.iter_mut().enumerate().map(async |(number, session)| {
        let ran = run(session, subject.probe(["echo".to_owned(), number.to_string()])).await;
        ensure(ran.text() == number.to_string(), || format!("{number}: {ran:?}"))
    });
    try_join_all(steps).await?;
    try_join_all(sessions.into_iter().map(done)).await.map(drop)
}
