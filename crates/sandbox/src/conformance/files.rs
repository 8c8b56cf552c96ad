//! Files that go in before the step and come out after it.

use std::collections::BTreeMap;

use async_trait::async_trait;
use bytes::Bytes;

use super::run;
use crate::session::{ArtifactSink, Collect, PutFile};
use crate::suite::{Case, Need, Subject, Why, done, ensure, told};
use crate::{SandboxError, Session};

/// Bytes of the long file.
const LONG_BYTES: usize = 320_000;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "files-go-in-and-artifacts-come-out",
        defence: "",
        needs: &[Need::Input(2 * LONG_BYTES as u64), Need::Output(2 * LONG_BYTES as u64)],
        run: |s| Box::pin(files(s)),
    },
    Case { name: "artifacts-keep-their-limits", defence: "", needs: &[], run: |s| Box::pin(limits(s)) },
    Case {
        name: "what-is-made-in-the-step-comes-out",
        defence: "",
        needs: &[Need::Local],
        run: |s| Box::pin(made(s)),
    },
    Case {
        name: "files-of-the-sandbox-itself-are-no-artifacts",
        defence: "",
        needs: &[],
        run: |s| Box::pin(internal(s)),
    },
];

/// Keeps collected files in memory.
#[derive(Default)]
pub(super) struct Memory {
    pub(super) files: BTreeMap<String, Vec<u8>>,
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

pub(super) fn all(pattern: &str) -> Collect {
    Collect {
        patterns: vec![pattern.to_owned()],
        max_file_bytes: 16 << 20,
        max_total_bytes: 64 << 20,
        max_files: 10,
    }
}

pub(super) async fn put(session: &mut Session, path: &str, content: Vec<u8>) -> Result<(), Why> {
    let file = PutFile { path: path.to_owned(), mode: 0o644, content: content.into() };
    Ok(session.put_file(file).await.map_err(told)?)
}

async fn files(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let long: Vec<u8> = (0..LONG_BYTES).map(|n| (n % 256) as u8).collect();
    put(&mut session, "short.txt", b"short".to_vec()).await?;
    put(&mut session, "a folder/in a folder/long.txt", long.clone()).await?;
    put(&mut session, "empty.txt", Vec::new()).await?;
    put(&mut session, "other.bin", b"other".to_vec()).await?;
    let ran = run(&mut session, subject.probe(["cat", "short.txt"])).await;
    ensure(ran.stdout == b"short", || format!("{ran:?}"))?;
    let mut memory = Memory::default();
    let collected = session.collect(&all("**/*.txt"), &mut memory).await.map_err(told)?;
    let expected = [
        ("a folder/in a folder/long.txt", long),
        ("empty.txt", Vec::new()),
        ("short.txt", b"short".to_vec()),
    ];
    let expected: BTreeMap<String, Vec<u8>> =
        expected.map(|(name, content)| (name.to_owned(), content)).into();
    ensure(memory.files == expected, || format!("{:?}", memory.files.keys()))?;
    ensure(collected.files == 3, || format!("{collected:?}"))?;
    done(session).await
}

async fn limits(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    put(&mut session, "long.txt", vec![b'x'; 100_000]).await?;
    put(&mut session, "short.txt", b"short".to_vec()).await?;
    let refused =
        session.put_file(PutFile { path: "../outside".to_owned(), mode: 0o644, content: Bytes::new() }).await;
    ensure(matches!(refused, Err(SandboxError::File(_))), || format!("{refused:?}"))?;
    let ran = run(&mut session, subject.probe(["exit", "0"])).await;
    ensure(ran.code() == Some(0), || format!("{ran:?}"))?;
    let mut memory = Memory::default();
    let few = Collect { max_file_bytes: 1000, ..all("*.txt") };
    let collected = session.collect(&few, &mut memory).await.map_err(told)?;
    ensure(memory.files.keys().eq(["short.txt"]), || format!("{:?}", memory.files.keys()))?;
    ensure(collected.skipped.iter().any(|skipped| skipped.path == "long.txt"), || format!("{collected:?}"))?;
    done(session).await
}

async fn made(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["make", "out/deep/result.bin", "500000"])).await;
    ensure(ran.code() == Some(0), || format!("{ran:?}"))?;
    let mut memory = Memory::default();
    session.collect(&all("out/**"), &mut memory).await.map_err(told)?;
    let whole = memory.files.get("out/deep/result.bin").is_some_and(|content| content.len() == 500_000);
    ensure(whole && memory.files.len() == 1, || format!("{:?}", memory.files.keys()))?;
    done(session).await
}

/// The probe itself lies in the sandbox's own folder, as a step's script does.
async fn internal(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    put(&mut session, ".sagewai/script.py", b"print()".to_vec()).await?;
    put(&mut session, ".hidden", b"mine".to_vec()).await?;
    let ran = run(&mut session, subject.probe(["exit", "0"])).await;
    ensure(ran.code() == Some(0), || format!("{ran:?}"))?;
    let mut memory = Memory::default();
    session.collect(&all("**"), &mut memory).await.map_err(told)?;
    ensure(memory.files.keys().eq([".hidden"]), || format!("{:?}", memory.files.keys()))?;
    done(session).await
}
