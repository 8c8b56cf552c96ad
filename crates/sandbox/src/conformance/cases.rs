//! The cases. They use programs that every image has: echo, cat, env, true, false, sleep, yes.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::future::try_join_all;
use protocol::frame::{FailureKind, STREAM_WINDOW_BYTES};
use tokio::sync::mpsc;

use super::{Case, Step, run};
use crate::session::{ArtifactSink, Collect, PutFile, StepEvent};
use crate::{Backend, SandboxError, Session, Template};

/// All cases.
pub fn cases() -> &'static [Case] {
    &[
        Case { name: "a-step-runs-and-its-output-comes-back", run: |b| Box::pin(output(b)) },
        Case { name: "exit-codes-come-back", run: |b| Box::pin(codes(b)) },
        Case { name: "input-longer-than-the-window-passes-through", run: |b| Box::pin(long_input(b)) },
        Case { name: "the-environment-is-what-was-said", run: |b| Box::pin(environment(b)) },
        Case { name: "a-missing-program-is-told", run: |b| Box::pin(missing_program(b)) },
        Case { name: "cancelling-ends-the-step", run: |b| Box::pin(cancelled(b)) },
        Case { name: "the-deadline-ends-the-step", run: |b| Box::pin(deadline(b)) },
        Case { name: "a-reader-that-leaves-ends-the-step", run: |b| Box::pin(reader_gone(b)) },
        Case { name: "a-slow-reader-slows-the-step-down", run: |b| Box::pin(slow_reader(b)) },
        Case { name: "files-go-in-and-artifacts-come-out", run: |b| Box::pin(files(b)) },
        Case { name: "artifacts-keep-their-limits", run: |b| Box::pin(limits_of_artifacts(b)) },
        Case { name: "a-session-runs-one-step", run: |b| Box::pin(once(b)) },
        Case { name: "absent-layers-refuse-the-start", run: |b| Box::pin(layers(b)) },
        Case { name: "sandboxes-run-side-by-side", run: |b| Box::pin(side_by_side(b)) },
        Case { name: "each-sandbox-has-its-own-key", run: |b| Box::pin(keys(b)) },
    ]
}

type Outcome = Result<(), String>;

fn ensure(holds: bool, what: impl FnOnce() -> String) -> Outcome {
    if holds { Ok(()) } else { Err(what()) }
}

fn told(error: SandboxError) -> String {
    format!("{error:?}")
}

async fn open(backend: &dyn Backend) -> Result<Session, String> {
    let sandbox = backend.create(&Template::default()).await.map_err(told)?;
    Session::open(sandbox, &[]).await.map_err(told)
}

async fn done(session: Session) -> Outcome {
    session.discard().await.map_err(told)
}

async fn output(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let ran = run(&mut session, Step::new(["echo", "hello", "world"])).await;
    ensure(ran.code() == Some(0) && ran.stdout == b"hello world\n" && ran.stderr.is_empty(), || {
        format!("{ran:?}")
    })?;
    done(session).await
}

async fn codes(backend: &dyn Backend) -> Outcome {
    for (program, code) in [("true", 0), ("false", 1)] {
        let mut session = open(backend).await?;
        let ran = run(&mut session, Step::new([program])).await;
        ensure(ran.code() == Some(code), || format!("{program}: {ran:?}"))?;
        done(session).await?;
    }
    Ok(())
}

async fn long_input(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let bytes: Vec<u8> = (0..STREAM_WINDOW_BYTES * 5 / 2).map(|n| (n % 251) as u8).collect();
    let ran = run(&mut session, Step::new(["cat"]).with_stdin(bytes.clone())).await;
    ensure(ran.code() == Some(0), || format!("{:?}", ran.exit))?;
    ensure(ran.stdout == bytes, || format!("{} of {} bytes came back", ran.stdout.len(), bytes.len()))?;
    done(session).await
}

async fn environment(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let mut step = Step::new(["env"]);
    step.environment.insert("GREETING".to_owned(), "good day, = \"you\"".to_owned());
    let expected: BTreeMap<String, String> = step.environment.clone();
    let ran = run(&mut session, step).await;
    let text = ran.text();
    let found: BTreeMap<String, String> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .filter(|(name, _)| name != "PWD")
        .collect();
    ensure(found == expected, || format!("{found:?} is not {expected:?}"))?;
    done(session).await
}

async fn missing_program(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let ran = run(&mut session, Step::new(["no-such-program-anywhere"])).await;
    let told = matches!(&ran.exit, Err(SandboxError::Refused { kind: FailureKind::NotFound, message }) if !message.is_empty());
    ensure(told, || format!("{:?}", ran.exit))?;
    done(session).await
}

async fn cancelled(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let step = Step::new(["sleep", "600"]);
    let cancel = step.cancel.clone();
    let (start, stdin, control) = step.into_parts();
    let (events, mut said) = mpsc::channel(4);
    let cancelling = async {
        let first = said.recv().await;
        cancel.cancel();
        first
    };
    let began = Instant::now();
    let (exit, first) = tokio::join!(session.run(start, stdin, events, control), cancelling);
    ensure(first == Some(StepEvent::Started), || format!("{first:?} came first"))?;
    ensure(matches!(exit, Err(SandboxError::Cancelled)), || format!("{exit:?}"))?;
    ensure(began.elapsed() < Duration::from_secs(10), || format!("it took {:?}", began.elapsed()))?;
    done(session).await
}

async fn deadline(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let ran = run(&mut session, Step::new(["sleep", "600"]).within(Duration::from_millis(200))).await;
    ensure(matches!(ran.exit, Err(SandboxError::Deadline)), || format!("{:?}", ran.exit))?;
    done(session).await
}

async fn reader_gone(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let (start, stdin, control) = Step::new(["sleep", "600"]).into_parts();
    let (events, said) = mpsc::channel(1);
    drop(said);
    let exit = session.run(start, stdin, events, control).await;
    ensure(matches!(exit, Err(SandboxError::OutputClosed)), || format!("{exit:?}"))?;
    done(session).await
}

async fn slow_reader(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let step = Step::new(["yes"]);
    let cancel = step.cancel.clone();
    let (start, stdin, control) = step.into_parts();
    let (events, mut said) = mpsc::channel(1);
    let reading = async {
        let mut bytes = 0;
        while let Some(event) = said.recv().await {
            if let StepEvent::Output(_, data) = event {
                bytes += data.len();
                tokio::task::yield_now().await;
                if bytes > 4 * STREAM_WINDOW_BYTES as usize {
                    cancel.cancel();
                }
            }
        }
        bytes
    };
    let (exit, bytes) = tokio::join!(session.run(start, stdin, events, control), reading);
    ensure(matches!(exit, Err(SandboxError::Cancelled)), || format!("{exit:?}"))?;
    let bound = 8 * STREAM_WINDOW_BYTES as usize;
    ensure(bytes < bound, || format!("{bytes} bytes were on their way"))?;
    done(session).await
}

/// Keeps collected files in memory.
#[derive(Default)]
struct Memory {
    files: BTreeMap<String, Vec<u8>>,
    current: String,
}

#[async_trait]
impl ArtifactSink for Memory {
    async fn begin(&mut self, path: &str, _: u64) -> std::io::Result<()> {
        path.clone_into(&mut self.current);
        self.files.insert(path.to_owned(), Vec::new());
        Ok(())
    }

    async fn data(&mut self, bytes: Bytes) -> std::io::Result<()> {
        self.files.entry(self.current.clone()).or_default().extend_from_slice(&bytes);
        Ok(())
    }

    async fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn all_texts(max_file_bytes: u64) -> Collect {
    Collect { patterns: vec!["*.txt".to_owned()], max_file_bytes, max_total_bytes: 64 << 20, max_files: 10 }
}

async fn put(session: &mut Session, path: &str, content: Vec<u8>) -> Outcome {
    session
        .put_file(PutFile { path: path.to_owned(), mode: 0o644, content: content.into() })
        .await
        .map_err(told)
}

async fn files(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let long: Vec<u8> = b"0123456789abcde\n".repeat(20_000);
    put(&mut session, "short.txt", b"short".to_vec()).await?;
    put(&mut session, "long.txt", long.clone()).await?;
    put(&mut session, "empty.txt", Vec::new()).await?;
    put(&mut session, "other.bin", b"other".to_vec()).await?;
    let ran = run(&mut session, Step::new(["cat", "short.txt"])).await;
    ensure(ran.stdout == b"short", || format!("{ran:?}"))?;
    let mut memory = Memory::default();
    let collected = session.collect(&all_texts(1 << 20), &mut memory).await.map_err(told)?;
    let expected = [("empty.txt", Vec::new()), ("long.txt", long), ("short.txt", b"short".to_vec())];
    let expected: BTreeMap<String, Vec<u8>> =
        expected.map(|(name, content)| (name.to_owned(), content)).into();
    ensure(memory.files == expected, || format!("{:?}", memory.files.keys()))?;
    ensure(collected.files == 3, || format!("{collected:?}"))?;
    done(session).await
}

async fn limits_of_artifacts(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    put(&mut session, "long.txt", vec![b'x'; 100_000]).await?;
    put(&mut session, "short.txt", b"short".to_vec()).await?;
    let refused =
        session.put_file(PutFile { path: "../outside".to_owned(), mode: 0o644, content: Bytes::new() }).await;
    ensure(matches!(refused, Err(SandboxError::File(_))), || format!("{refused:?}"))?;
    let ran = run(&mut session, Step::new(["true"])).await;
    ensure(ran.code() == Some(0), || format!("{ran:?}"))?;
    let mut memory = Memory::default();
    let collected = session.collect(&all_texts(1000), &mut memory).await.map_err(told)?;
    ensure(memory.files.keys().eq(["short.txt"]), || format!("{:?}", memory.files.keys()))?;
    ensure(collected.skipped.iter().any(|skipped| skipped.path == "long.txt"), || format!("{collected:?}"))?;
    done(session).await
}

async fn once(backend: &dyn Backend) -> Outcome {
    let mut session = open(backend).await?;
    let early = session.collect(&all_texts(1), &mut Memory::default()).await;
    ensure(matches!(early, Err(SandboxError::Order(_))), || format!("{early:?}"))?;
    let ran = run(&mut session, Step::new(["true"])).await;
    ensure(ran.code() == Some(0), || format!("{ran:?}"))?;
    let again = run(&mut session, Step::new(["true"])).await;
    ensure(matches!(again.exit, Err(SandboxError::Order(_))), || format!("{again:?}"))?;
    done(session).await
}

async fn layers(backend: &dyn Backend) -> Outcome {
    let reports = backend.layers().await.map_err(told)?;
    for report in reports {
        let sandbox = backend.create(&Template::default()).await.map_err(told)?;
        match Session::open(sandbox, &[report.layer]).await {
            Ok(session) if report.enforced => done(session).await?,
            Err(SandboxError::LayersAbsent(_)) if !report.enforced => {
                ensure(!report.note.is_empty(), || format!("{report:?} has no remedy"))?;
            }
            Ok(_) => return Err(format!("{report:?} did not refuse the start")),
            Err(error) => return Err(format!("{report:?}: {error}")),
        }
    }
    Ok(())
}

async fn side_by_side(backend: &dyn Backend) -> Outcome {
    let one = async |number: usize| {
        let mut session = open(backend).await?;
        let ran = run(&mut session, Step::new(["echo".to_owned(), number.to_string()])).await;
        ensure(ran.text() == number.to_string(), || format!("{number}: {ran:?}"))?;
        done(session).await
    };
    try_join_all((0..12).map(one)).await.map(drop)
}

async fn keys(backend: &dyn Backend) -> Outcome {
    let (one, other) = (open(backend).await?, open(backend).await?);
    let differ = one.guest_public_key() != other.guest_public_key() || backend.name() == "fake";
    ensure(differ, || "two guests have the same key".to_owned())?;
    done(one).await?;
    done(other).await
}
