//! Sagewai as an operator starts it: the release build, server and workers as separate processes, SQLite, fsync on.

use std::fs::OpenOptions;
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::json;

use crate::http::{Call, Connection, Judged};
use crate::process::{POLL, Process, READY_LIMIT, fresh_folder};

/// Seconds that the server is asked to wait for a run's end.
const WAIT_SECONDS: u32 = 30;

/// A workflow that is published before it is measured, as the peer's service is registered.
#[derive(Clone, Debug)]
pub(crate) struct Workflow {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its tasks, YAML in flow style.
    pub(crate) tasks: String,
}

impl Workflow {
    /// Three no-op steps.
    pub(crate) fn three_steps() -> Workflow {
        let tasks = "[{ first: { call: noop } }, { second: { call: noop } }, { third: { call: noop } }]";
        Workflow { name: "three-steps", tasks: tasks.to_owned() }
    }

    /// One step in mode 0.
    pub(crate) fn mode_0() -> Workflow {
        Workflow { name: "mode-0", tasks: "[{ only: { call: noop } }]".to_owned() }
    }

    /// One step in mode 1.
    pub(crate) fn mode_1() -> Workflow {
        Workflow { name: "mode-1", tasks: "[{ only: { run: { shell: { command: ':' } } } }]".to_owned() }
    }

    /// An HTTP request, then two no-op steps.
    pub(crate) fn first_step_at(name: &'static str, endpoint: &str) -> Workflow {
        let first = format!("{{ first: {{ call: http, with: {{ method: get, endpoint: '{endpoint}' }} }} }}");
        let tasks = format!("[{first}, {{ second: {{ call: noop }} }}, {{ third: {{ call: noop }} }}]");
        Workflow { name, tasks }
    }

    /// No-op steps one after the other, in loops of so many, each loop followed by an HTTP request.
    pub(crate) fn loops(name: &'static str, endpoint: &str, steps: &[usize]) -> Workflow {
        let tasks: Vec<String> = steps
            .iter()
            .enumerate()
            .map(|(n, steps)| {
                let each = format!(
                    "for: {{ each: n, in: '${{ [range({steps})] }}' }}, do: [{{ step: {{ call: noop }} }}]"
                );
                let told = format!("call: http, with: {{ method: get, endpoint: '{endpoint}' }}");
                format!("{{ loop{n}: {{ {each} }} }}, {{ told{n}: {{ {told} }} }}")
            })
            .collect();
        Workflow { name, tasks: format!("[{}]", tasks.join(", ")) }
    }

    fn document(&self) -> String {
        let Workflow { name, tasks } = self;
        format!(
            "document: {{ dsl: '1.0.3', namespace: default, name: {name}, version: '1.0.0' }}\ndo: {tasks}\n"
        )
    }
}

/// A running server and its workers.
pub(crate) struct Sagewai {
    // Dropped in this order: workers before their server.
    workers: Vec<Process>,
    /// The server.
    pub(crate) server: Process,
    binary: PathBuf,
    folder: PathBuf,
    address: SocketAddr,
    token: String,
}

impl Sagewai {
    /// Starts a server without workers; its data is `WORK/NAME`.
    pub(crate) async fn start(binary: &Path, work: &Path, name: &str) -> Result<Sagewai> {
        let folder = fresh_folder(work, name)?;
        let (mut server, address) = start_server(binary, &folder).await?;
        let token = server.said("its token", of("admin token, shown once: ")).await?;
        Ok(Sagewai { workers: Vec::new(), server, binary: binary.to_owned(), folder, address, token })
    }

    /// Stops the server and starts another one over its data; how long the start took.
    pub(crate) async fn restart(&mut self) -> Result<Duration> {
        self.server.stop();
        let began = Instant::now();
        (self.server, self.address) = start_server(&self.binary, &self.folder).await?;
        Ok(began.elapsed())
    }

    /// Adds a worker and waits until it is connected.
    pub(crate) async fn add_worker(&mut self, name: &str, flags: &[&str]) -> Result<()> {
        let mut connection = Connection::open(self.address).await?;
        let join =
            self.call("/api/v1/join-tokens", &json!({ "name": name, "seconds": 600 }), |_| Ok(Judged::Done));
        #[derive(Deserialize)]
        struct Made {
            secret: String,
        }
        let made: Made = serde_json::from_slice(&connection.run(&join).await?)?;
        let data = self.folder.join(name);
        std::fs::create_dir_all(&data)?;
        let join_token = self.folder.join(format!("{name}.join"));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&join_token)?;
        file.write_all(made.secret.as_bytes())?;
        let mut command = Command::new(&self.binary);
        command
            .args([
                "worker",
                "--server",
                &format!("http://{}", self.address),
                "--name",
                name,
                "--log",
                "warn",
            ])
            .arg("--data")
            .arg(&data)
            .arg("--join-token-file")
            .arg(&join_token)
            .args(flags);
        let mut worker = Process::start(name, &self.folder, &mut command)?;
        let deadline = Instant::now() + READY_LIMIT;
        while !connected(&connection.read("/api/v1/workers", &join).await?, name)? {
            worker.check()?;
            if Instant::now() > deadline {
                bail!("worker {name} did not connect within {READY_LIMIT:?}");
            }
            tokio::time::sleep(POLL).await;
        }
        self.workers.push(worker);
        Ok(())
    }

    /// The workers.
    pub(crate) fn workers(&self) -> &[Process] {
        &self.workers
    }

    /// Publishes a workflow.
    pub(crate) async fn publish(&self, workflow: &Workflow) -> Result<()> {
        let body = json!({ "document": workflow.document() });
        let call = self.call("/api/v1/workflows", &body, |_| Ok(Judged::Done));
        Connection::open(self.address).await?.run(&call).await?;
        Ok(())
    }

    /// Submits a run of a published workflow; done when it has been accepted.
    pub(crate) fn submit(&self, workflow: &Workflow) -> Call {
        let reference = json!({ "namespace": "default", "name": workflow.name, "version": "1.0.0" });
        self.call("/api/v1/runs", &json!({ "workflow": reference }), |_| Ok(Judged::Done))
    }

    /// Submits a run of a published workflow; done when it has completed. The server is asked to answer then (RFC 7240);
    /// one that answers before is followed by the run's events.
    pub(crate) fn run(&self, workflow: &Workflow) -> Call {
        let mut call = Call { judge, ..self.submit(workflow) };
        call.headers.push(("prefer", format!("wait={WAIT_SECONDS}")));
        call
    }

    /// Whether the server answers a submission when the run has ended.
    pub(crate) async fn waits(&self, workflow: &Workflow) -> Result<bool> {
        let answer = Connection::open(self.address).await?.run(&self.run(workflow)).await?;
        Ok(matches!(judge(&answer)?, Judged::Done))
    }

    fn call(&self, path: &str, body: &serde_json::Value, judge: fn(&[u8]) -> Result<Judged>) -> Call {
        let headers = vec![("authorization", format!("Bearer {}", self.token))];
        Call {
            address: self.address,
            path: path.to_owned(),
            headers,
            body: Bytes::from(body.to_string()),
            judge,
        }
    }
}

async fn start_server(binary: &Path, folder: &Path) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(binary);
    command.args(["server", "--listen", "127.0.0.1:0", "--log", "warn", "--data"]).arg(folder.join("server"));
    let mut server = Process::start("server", folder, &mut command)?;
    let listens = server.said("where it listens", of("server listens on http://")).await?;
    let address = listens.parse().with_context(|| format!("`{listens}` is no address"))?;
    Ok((server, address))
}

/// What follows on a line.
fn of(before: &'static str) -> impl Fn(&str) -> Option<String> {
    move |line| line.split_once(before).map(|(_, rest)| rest.trim().to_owned())
}

/// Reads a run, whole where the server waited for its end and else as lists show it.
fn judge(answer: &[u8]) -> Result<Judged> {
    #[derive(Deserialize)]
    struct Summary<'a> {
        id: &'a str,
        state: &'a str,
    }
    #[derive(Deserialize)]
    struct Whole<'a> {
        #[serde(borrow)]
        summary: Summary<'a>,
    }
    let whole = serde_json::from_slice(answer).map(|Whole { summary }| summary);
    let run = whole.or_else(|_| serde_json::from_slice(answer)).context("the answer is no run")?;
    match run.state {
        "completed" => Ok(Judged::Done),
        "faulted" | "cancelled" => bail!("the run ended: {}", String::from_utf8_lossy(answer)),
        _ => Ok(Judged::Follow(format!("/api/v1/runs/{}/events", run.id))),
    }
}

fn connected(answer: &[u8], name: &str) -> Result<bool> {
    #[derive(Deserialize)]
    struct Workers {
        items: Vec<Worker>,
    }
    #[derive(Deserialize)]
    struct Worker {
        name: String,
        connected: bool,
    }
    let workers: Workers = serde_json::from_slice(answer).context("the answer is no list of workers")?;
    Ok(workers.items.iter().any(|worker| worker.name == name && worker.connected))
}
