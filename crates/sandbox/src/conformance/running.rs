//! How a step starts, what it finds, and how its end is told.

use std::collections::BTreeMap;

use protocol::frame::{FailureKind, StepLimits};

use super::run;
use crate::SandboxError;
use crate::session::{Exit, ExitStatus};
use crate::suite::{Case, Need, Subject, Why, done, ensure};

/// Bytes of a long value of the environment, within what Linux takes for one string.
const LONG_VALUE_BYTES: usize = 100_000;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a-step-runs-and-its-output-comes-back",
        defence: "",
        needs: &[],
        run: |s| Box::pin(output(s)),
    },
    Case { name: "exit-codes-come-back", defence: "", needs: &[], run: |s| Box::pin(codes(s)) },
    Case { name: "the-signal-of-an-end-comes-back", defence: "", needs: &[], run: |s| Box::pin(signal(s)) },
    Case {
        name: "the-environment-is-what-was-said",
        defence: "",
        needs: &[Need::Input(2 * LONG_VALUE_BYTES as u64)],
        run: |s| Box::pin(environment(s)),
    },
    Case {
        name: "an-environment-that-cannot-be-is-refused",
        defence: "",
        needs: &[],
        run: |s| Box::pin(impossible_environment(s)),
    },
    Case {
        name: "a-missing-program-is-told",
        defence: "",
        needs: &[],
        run: |s| Box::pin(missing_program(s)),
    },
    Case {
        name: "a-program-of-the-image-is-found-by-its-name",
        defence: "",
        needs: &[],
        run: |s| Box::pin(program_of_the_image(s)),
    },
    Case {
        name: "the-usual-places-are-there",
        defence: "",
        needs: &[Need::Local],
        run: |s| Box::pin(places(s)),
    },
    Case {
        name: "limits-of-a-step-are-set",
        defence: "",
        needs: &[Need::Limits],
        run: |s| Box::pin(limits(s)),
    },
    Case { name: "a-terminal-is-one", defence: "", needs: &[Need::Terminal], run: |s| Box::pin(terminal(s)) },
    Case {
        name: "threads-and-children-start",
        defence: "",
        needs: &[Need::Local],
        run: |s| Box::pin(threads(s)),
    },
];

async fn output(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["echo", "hello", "world"])).await;
    ensure(ran.code() == Some(0) && ran.stdout == b"hello world\n" && ran.stderr.is_empty(), || {
        format!("{ran:?}")
    })?;
    done(session).await
}

async fn codes(subject: &Subject) -> Result<(), Why> {
    for code in [0, 1, 77, 255] {
        let mut session = subject.open().await?;
        let ran = run(&mut session, subject.probe(["exit".to_owned(), code.to_string()])).await;
        ensure(ran.code() == Some(code), || format!("{code}: {ran:?}"))?;
        done(session).await?;
    }
    Ok(())
}

async fn signal(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["raise", "15"])).await;
    ensure(matches!(ran.exit, Ok(Exit { status: ExitStatus::Signal(15), .. })), || {
        format!("{:?}", ran.exit)
    })?;
    done(session).await
}

async fn environment(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mut step = subject.probe(["env"]);
    step.environment.insert("GREETING".to_owned(), "good day, = \"you\" ü".to_owned());
    step.environment.insert("EMPTY".to_owned(), String::new());
    step.environment.insert("LONG".to_owned(), "x".repeat(LONG_VALUE_BYTES));
    let expected: BTreeMap<String, String> = step.environment.clone();
    let ran = run(&mut session, step).await;
    let text = ran.text();
    let found: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    ensure(found == expected, || format!("{:?} is not {:?}", found.keys(), expected.keys()))?;
    done(session).await
}

/// What no program could see is refused, by name, and not left out in silence.
async fn impossible_environment(subject: &Subject) -> Result<(), Why> {
    for (name, value) in [("SPLIT", "one\0two"), ("A=B", "x"), ("", "x")] {
        let mut session = subject.open().await?;
        let mut step = subject.probe(["env"]);
        step.environment.insert(name.to_owned(), value.to_owned());
        let ran = run(&mut session, step).await;
        let told = matches!(&ran.exit, Err(SandboxError::Refused { message, .. })
            if message.contains("environment") && message.contains(name) && !message.contains("two"));
        ensure(told, || format!("{name:?}: {:?}", ran.exit))?;
        done(session).await?;
    }
    Ok(())
}

async fn missing_program(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.step(["no-such-program-anywhere"])).await;
    let told = matches!(&ran.exit, Err(SandboxError::Refused { kind: FailureKind::NotFound, message })
        if message.contains("no-such-program-anywhere"));
    ensure(told, || format!("{:?}", ran.exit))?;
    done(session).await
}

async fn program_of_the_image(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.step(["true"])).await;
    done(session).await?;
    match ran.exit {
        Err(SandboxError::Refused { kind: FailureKind::NotFound, .. }) => {
            Err(Why::Skipped("the image has no program `true`".to_owned()))
        }
        _ => ensure(ran.code() == Some(0), || format!("{ran:?}")),
    }
}

/// The working directory, the home and /tmp belong to the step and are empty, but for what was put there.
async fn places(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let able = subject.backend.capabilities();
    let ran = run(&mut session, subject.probe(["places", &able.workspace, &able.home, "/tmp"])).await;
    let expected = format!(
        "in {}\n{}: .sagewai, writable\n{}: , writable\n/tmp: , writable",
        able.workspace, able.workspace, able.home
    );
    ensure(ran.text() == expected, || format!("{ran:?}"))?;
    done(session).await
}

async fn limits(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mut step = subject.probe(["limits"]);
    step.limits = StepLimits {
        memory_bytes: 1 << 30,
        // Well above what others run: where sandboxes share a user, the kernel counts the processes of all of them.
        processes: 5000,
        file_bytes: 1 << 20,
        descriptors: 77,
        deadline_ms: 60_000,
    };
    let ran = run(&mut session, step).await;
    let expected = "data 1073741824\nprocesses 5000\nfile 1048576\ndescriptors 77\ncore 1";
    ensure(ran.text() == expected, || format!("{ran:?}"))?;
    done(session).await
}

async fn terminal(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let mut step = subject.probe(["terminal"]).with_stdin("word\n");
    step.terminal = true;
    let ran = run(&mut session, step).await;
    ensure(ran.text().contains("terminals true true true") && ran.text().contains("got word"), || {
        format!("{ran:?}")
    })?;
    done(session).await
}

async fn threads(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["threads"])).await;
    ensure(ran.text() == "2 true", || format!("{ran:?}"))?;
    done(session).await
}
