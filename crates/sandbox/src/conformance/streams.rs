//! Standard input and output: any bytes, any amount, while the step runs, as fast as their reader.

use bytes::Bytes;
use protocol::frame::{STREAM_WINDOW_BYTES, Stream};
use tokio::sync::mpsc;

use super::run;
use crate::SandboxError;
use crate::session::{Stdin, StepEvent};
use crate::suite::{Case, Need, Subject, Why, done, ensure};

/// Bytes of input that pass through a step, more than a window.
const LONG_BYTES: usize = STREAM_WINDOW_BYTES as usize * 5 / 2;
/// Bytes that a step writes to each of two streams.
const BOTH_BYTES: usize = 3_000_000;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "binary-input-longer-than-the-window-passes-through",
        defence: "",
        needs: &[Need::Input(LONG_BYTES as u64), Need::Output(LONG_BYTES as u64)],
        run: |s| Box::pin(long_input(s)),
    },
    Case {
        name: "both-output-streams-come-whole-and-apart",
        defence: "",
        needs: &[Need::Output(2 * BOTH_BYTES as u64)],
        run: |s| Box::pin(both(s)),
    },
    Case {
        name: "output-comes-and-input-goes-while-the-step-runs",
        defence: "",
        needs: &[Need::Interactive],
        run: |s| Box::pin(conversation(s)),
    },
    Case {
        name: "a-slow-reader-slows-the-step-down",
        defence: "",
        needs: &[Need::Interactive],
        run: |s| Box::pin(slow_reader(s)),
    },
];

async fn long_input(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let bytes: Vec<u8> = (0..LONG_BYTES).map(|n| (n % 251 + n % 7) as u8).collect();
    let ran = run(&mut session, subject.probe(["cat"]).with_stdin(bytes.clone())).await;
    ensure(ran.code() == Some(0), || format!("{:?}", ran.exit))?;
    ensure(ran.stdout == bytes, || format!("{} of {} bytes came back", ran.stdout.len(), bytes.len()))?;
    done(session).await
}

async fn both(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["both".to_owned(), BOTH_BYTES.to_string()])).await;
    let all = |bytes: &[u8], byte| bytes.len() == BOTH_BYTES && bytes.iter().all(|b| *b == byte);
    ensure(ran.code() == Some(0) && all(&ran.stdout, b'o') && all(&ran.stderr, b'e'), || {
        format!("{:?}, {} and {} bytes", ran.exit, ran.stdout.len(), ran.stderr.len())
    })?;
    done(session).await
}

/// The step answers each line; each answer is there before the next line goes in.
async fn conversation(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let (lines, input) = mpsc::channel(1);
    let mut step = subject.probe(["cat"]);
    step.stdin = Stdin::Stream(input);
    let (start, stdin, control) = step.into_parts();
    let (events, mut said) = mpsc::channel(4);
    let talking = async move {
        let mut heard = Vec::new();
        for line in ["one\n", "two\n", "three\n"] {
            lines.send(Bytes::from(line)).await.map_err(|_| "the input was closed".to_owned())?;
            heard.clear();
            while heard != line.as_bytes() {
                match said.recv().await {
                    Some(StepEvent::Output(Stream::Stdout, data)) => heard.extend_from_slice(&data),
                    Some(StepEvent::Started) => {}
                    other => return Err(format!("{other:?} instead of {line:?}")),
                }
            }
        }
        drop(lines);
        while said.recv().await.is_some() {}
        Ok(())
    };
    let (exit, talked) = tokio::join!(session.run(start, stdin, events, control), talking);
    talked?;
    ensure(exit.is_ok(), || format!("{exit:?}"))?;
    done(session).await
}

async fn slow_reader(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let step = subject.probe(["yes"]);
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
