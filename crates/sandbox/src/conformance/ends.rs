//! Ends that do not come by themselves: cancel, deadline, a reader that leaves, the crash of either side.

use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::{Step, run};
use crate::session::StepEvent;
use crate::suite::{Case, Need, Subject, Why, done, ends_soon, ensure, marked, parent_of};
use crate::{SandboxError, Session};

/// An end that was asked for comes within this time, the grace included.
const END_LIMIT: Duration = Duration::from_secs(10);

pub(super) const CASES: &[Case] = &[
    Case {
        name: "cancelling-ends-the-step",
        defence: "",
        needs: &[Need::Interactive],
        run: |s| Box::pin(cancelled(s, "sleep")),
    },
    Case {
        name: "cancelling-ends-a-step-that-ignores-it",
        defence: "",
        needs: &[Need::Interactive],
        run: |s| Box::pin(cancelled(s, "deaf")),
    },
    Case { name: "the-deadline-ends-the-step", defence: "", needs: &[], run: |s| Box::pin(deadline(s)) },
    Case {
        name: "the-deadline-holds-without-the-worker",
        defence: "",
        needs: &[Need::Limits],
        run: |s| Box::pin(deadline_of_the_guest(s)),
    },
    Case {
        name: "a-reader-that-leaves-ends-the-step",
        defence: "",
        needs: &[Need::Interactive],
        run: |s| Box::pin(reader_gone(s)),
    },
    Case {
        name: "what-stays-in-the-background-ends-with-the-step",
        defence: "",
        needs: &[Need::Local],
        run: |s| Box::pin(background(s)),
    },
    Case {
        name: "discarding-ends-what-still-runs",
        defence: "",
        needs: &[Need::Local],
        run: |s| Box::pin(given_up(s, async |session| done(session).await)),
    },
    Case {
        name: "a-worker-that-is-gone-leaves-nothing",
        defence: "",
        needs: &[Need::Local],
        run: |s| {
            Box::pin(given_up(s, async |session| {
                drop(session);
                Ok(())
            }))
        },
    },
    Case {
        name: "a-guest-that-dies-fails-the-step",
        defence: "",
        needs: &[Need::Local],
        run: |s| Box::pin(dead_guest(s)),
    },
];

/// Runs `step`, and does `then` once it runs.
async fn once_started<T>(
    session: &mut Session,
    step: Step,
    then: impl AsyncFnOnce() -> T,
) -> Result<(Result<crate::session::Exit, SandboxError>, T), String> {
    let (start, stdin, control) = step.into_parts();
    let (events, mut said) = mpsc::channel(4);
    let acting = async {
        match said.recv().await {
            Some(StepEvent::Started) => {}
            other => return Err(format!("{other:?} came first")),
        }
        let done = then().await;
        while said.recv().await.is_some() {}
        Ok(done)
    };
    let (exit, done) = tokio::join!(session.run(start, stdin, events, control), acting);
    match done {
        Ok(done) => Ok((exit, done)),
        Err(why) => Err(format!("{why}; {exit:?}")),
    }
}

async fn cancelled(subject: &Subject, program: &str) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let step = subject.probe([program, "600"]).within(Duration::from_secs(60));
    let cancel = step.cancel.clone();
    let (exit, asked) = once_started(&mut session, step, async || {
        cancel.cancel();
        Instant::now()
    })
    .await?;
    ensure(matches!(exit, Err(SandboxError::Cancelled)), || format!("{exit:?}"))?;
    ensure(asked.elapsed() < END_LIMIT, || format!("it took {:?}", asked.elapsed()))?;
    done(session).await
}

async fn deadline(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["sleep", "600"]).within(Duration::from_millis(500))).await;
    ensure(matches!(ran.exit, Err(SandboxError::Deadline)), || format!("{:?}", ran.exit))?;
    done(session).await
}

async fn deadline_of_the_guest(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mut step = subject.probe(["deaf", "600"]).within(Duration::from_secs(50));
    step.limits.deadline_ms = 300;
    let began = Instant::now();
    let ran = run(&mut session, step).await;
    ensure(matches!(ran.exit, Err(SandboxError::Deadline)), || format!("{:?}", ran.exit))?;
    ensure(began.elapsed() < END_LIMIT, || format!("it took {:?}", began.elapsed()))?;
    done(session).await
}

async fn reader_gone(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let (start, stdin, control) = subject.probe(["sleep", "600"]).into_parts();
    let (events, said) = mpsc::channel(1);
    drop(said);
    let exit = session.run(start, stdin, events, control).await;
    ensure(matches!(exit, Err(SandboxError::OutputClosed)), || format!("{exit:?}"))?;
    done(session).await
}

/// A child that keeps the step's output open neither delays the end nor outlives it.
async fn background(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mark = mark("background");
    let began = Instant::now();
    let ran = run(&mut session, subject.probe(["leave", &mark])).await;
    ensure(ran.code() == Some(0) && ran.text() == "started", || format!("{ran:?}"))?;
    ensure(began.elapsed() < END_LIMIT, || format!("it took {:?}", began.elapsed()))?;
    ends_soon(&mark).await?;
    done(session).await
}

async fn given_up(
    subject: &Subject,
    give_up: impl AsyncFnOnce(Session) -> Result<(), Why>,
) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mark = mark("given-up");
    let (start, stdin, control) = subject.probe(["deaf", "600", &mark]).into_parts();
    let (events, mut said) = mpsc::channel(4);
    tokio::select! {
        exit = session.run(start, stdin, events, control) => Err(format!("{exit:?}"))?,
        started = said.recv() => ensure(started == Some(StepEvent::Started), || format!("{started:?}"))?,
    }
    ensure(!marked(&mark).is_empty(), || "the step's process cannot be found on this machine".to_owned())?;
    give_up(session).await?;
    Ok(ends_soon(&mark).await?)
}

async fn dead_guest(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mark = mark("orphan");
    let step = subject.probe(["deaf", "600", &mark]).within(Duration::from_secs(50));
    let (exit, killed) = once_started(&mut session, step, async || kill_parent_of(&mark)).await?;
    if let Err(why) = killed {
        drop(session);
        return Err(Why::Skipped(why));
    }
    ensure(matches!(exit, Err(SandboxError::Ended(_) | SandboxError::OutputClosed)), || format!("{exit:?}"))?;
    ends_soon(&mark).await?;
    done(session).await
}

fn kill_parent_of(mark: &str) -> Result<(), String> {
    let guest = marked(mark).first().copied().and_then(parent_of).ok_or("the guest cannot be found")?;
    let status = std::process::Command::new("kill")
        .args(["-KILL", &guest.to_string()])
        .status()
        .map_err(|error| format!("`kill` cannot be started: {error}"))?;
    if status.success() { Ok(()) } else { Err("this user may not kill the guest".to_owned()) }
}

/// A word that no other test's processes carry.
fn mark(what: &str) -> String {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("sagewai-{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}
