//! What a step leaves running or lying about must be gone with its sandbox.

use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;

use super::{Attack, Verdict, open, refused_unless, told};
use crate::conformance::{Step, run};
use crate::session::{ArtifactSink, Collect};
use crate::{Backend, Template};

/// Within this time after the discard nothing may be left.
const GONE_LIMIT: Duration = Duration::from_secs(1);

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "processes-after-the-end",
        defence: "the pid namespace ends with its first process",
        run: |backend| Box::pin(processes(backend)),
    },
    Attack {
        name: "artifacts-through-links",
        defence: "the guest opens artifacts without following links",
        run: |backend| Box::pin(links(backend)),
    },
    Attack {
        name: "what-the-last-one-left",
        defence: "a sandbox serves one step",
        run: |backend| Box::pin(next_one(backend)),
    },
];

async fn processes(backend: &dyn Backend) -> Result<Verdict, String> {
    let marker = format!("sagewai-leftover-{}", std::process::id());
    // Forked twice, in a session of their own, stopped, deaf to every signal that can be ignored.
    let script = format!(
        "trap '' HUP TERM INT QUIT; \
         (setsid sh -c 'trap \"\" HUP TERM INT; : {marker}; sleep 1000' >/dev/null 2>&1 </dev/null &) ; \
         (setsid sh -c ': {marker}; kill -STOP $$; sleep 1000' >/dev/null 2>&1 </dev/null &) ; echo started"
    );
    let mut session = open(backend, &Template::default()).await?;
    let ran = run(&mut session, Step::shell(&script)).await;
    if ran.text() != "started" {
        return Err(format!("{ran:?}"));
    }
    session.discard().await.map_err(told)?;
    let discarded = Instant::now();
    loop {
        let left = processes_with(&marker);
        if left.is_empty() {
            return Ok(Verdict::Refused);
        }
        if discarded.elapsed() > GONE_LIMIT {
            return Ok(Verdict::Leaked(format!("processes {left:?} live on")));
        }
        tokio::task::yield_now().await;
    }
}

/// Host processes whose command line holds `marker`.
fn processes_with(marker: &str) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries
        .flatten()
        .filter(|entry| {
            std::fs::read(entry.path().join("cmdline"))
                .is_ok_and(|words| String::from_utf8_lossy(&words).contains(marker))
        })
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect()
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

async fn links(backend: &dyn Backend) -> Result<Verdict, String> {
    let mut session = open(backend, &Template::default()).await?;
    let script = "echo fine > good.txt; ln -s /etc/passwd one.txt; ln -s ../etc/passwd two.txt; ln -s /etc etc; \
                  ln -s /proc/self/environ three.txt; mkfifo four.txt; ln -s good.txt five.txt; echo done";
    let ran = run(&mut session, Step::shell(script)).await;
    if ran.text() != "done" {
        return Err(format!("{ran:?}"));
    }
    let all = Collect {
        patterns: vec![
            "**".to_owned(),
            "*.txt".to_owned(),
            "etc/passwd".to_owned(),
            "../etc/passwd".to_owned(),
        ],
        max_file_bytes: 1 << 20,
        max_total_bytes: 1 << 22,
        max_files: 1000,
    };
    let mut text = Text::default();
    session.collect(&all, &mut text).await.map_err(told)?;
    session.discard().await.map_err(told)?;
    if !text.0.contains("fine") {
        return Err(format!("the good file did not come: {}", text.0));
    }
    Ok(refused_unless(text.0.contains("root:") || text.0.contains("HOME="), || text.0))
}

async fn next_one(backend: &dyn Backend) -> Result<Verdict, String> {
    let places = "/workspace /tmp /home/step /dev/shm";
    let mut session = open(backend, &Template::default()).await?;
    let plant = format!("for place in {places}; do echo x > $place/planted; done; echo done");
    let ran = run(&mut session, Step::shell(&plant)).await;
    if ran.text() != "done" {
        return Err(format!("{ran:?}"));
    }
    session.discard().await.map_err(told)?;
    let mut session = open(backend, &Template::default()).await?;
    let look = format!("for place in {places}; do ls -A $place; done");
    let ran = run(&mut session, Step::shell(&look)).await;
    session.discard().await.map_err(told)?;
    Ok(refused_unless(!ran.text().is_empty() || ran.code() != Some(0), || format!("{ran:?}")))
}
