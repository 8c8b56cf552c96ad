//! What a step leaves running or lying about must be gone with its sandbox.

use async_trait::async_trait;
use bytes::Bytes;

use crate::conformance::run;
use crate::session::{ArtifactSink, Collect};
use crate::suite::{Case, Need, Subject, Why, done, ends_soon, ensure, told};

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "processes-after-the-end",
        defence: "the pid namespace ends with its first process",
        needs: &[Need::Local],
        run: |s| Box::pin(processes(s)),
    },
    Case {
        name: "artifacts-through-links",
        defence: "the guest opens artifacts without following links",
        needs: &[],
        run: |s| Box::pin(links(s)),
    },
    Case {
        name: "what-the-last-one-left",
        defence: "a sandbox serves one step",
        needs: &[],
        run: |s| Box::pin(next_one(s)),
    },
];

async fn processes(subject: &Subject) -> Result<(), Why> {
    let mark = format!("sagewai-leftover-{}", std::process::id());
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["leave", &mark])).await;
    ensure(ran.text() == "started", || format!("{ran:?}"))?;
    done(session).await?;
    Ok(ends_soon(&mark).await?)
}

/// Keeps the text of everything that comes.
#[derive(Default)]
struct Text(String);

#[async_trait]
impl ArtifactSink for Text {
    async fn begin(&mut self, path: &str, _: u64) -> std::io::Result<()> {
        self.0.push_str(path);
        self.0.push('\n');
        Ok(())
    }

    async fn data(&mut self, bytes: Bytes) -> std::io::Result<()> {
        self.0.push_str(&String::from_utf8_lossy(&bytes));
        Ok(())
    }

    async fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

async fn links(subject: &Subject) -> Result<(), Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, subject.probe(["links"])).await;
    ensure(ran.text() == "done", || format!("{ran:?}"))?;
    let patterns = ["**", "*.txt", "etc/passwd", "../etc/passwd", ".sagewai/../../etc/passwd"];
    let all = Collect {
        patterns: patterns.map(str::to_owned).to_vec(),
        max_file_bytes: 1 << 20,
        max_total_bytes: 1 << 22,
        max_files: 1000,
    };
    let mut text = Text::default();
    session.collect(&all, &mut text).await.map_err(told)?;
    done(session).await?;
    ensure(text.0 == "good.txt\nfine", || text.0.clone())
}

async fn next_one(subject: &Subject) -> Result<(), Why> {
    let able = subject.backend.capabilities();
    let places = [able.workspace.as_str(), "/tmp", able.home.as_str(), "/dev/shm"];
    for (command, said) in [("plant", "done"), ("look", "end")] {
        let mut session = subject.open().await?;
        let ran = run(&mut session, subject.probe(std::iter::once(command).chain(places))).await;
        done(session).await?;
        ensure(ran.text() == said, || format!("{ran:?}"))?;
    }
    Ok(())
}
