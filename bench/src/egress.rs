//! Egress: what a step's connections through the tunnel cost, beside the same program's without a sandbox.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use protocol::step::NetworkRule;
use sandbox::Backend;
use sandbox::egress::{Dialer, OperatorPolicy};
use sandbox::suite::{Step, Subject, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;

use crate::arguments::Arguments;
use crate::rows::{Goal, Latency, Row};
use crate::samples::Samples;

/// Where the server is: the host's loopback, as the step names it too.
const HOST: &str = "127.0.0.1";
/// Bytes of one download.
const DOWNLOAD_BYTES: usize = 1 << 30;
/// Bytes written at a time.
const BLOCK_BYTES: usize = 1 << 18;
/// The longest a turn may take.
const TURN_LIMIT: Duration = Duration::from_secs(60);

/// A server that sends so many bytes to whoever says `ping`. Dropped, it ends.
struct Server {
    port: u16,
    task: AbortHandle,
}

impl Server {
    async fn start(bytes: usize) -> Result<Self> {
        let listener = TcpListener::bind((HOST, 0)).await?;
        let port = listener.local_addr()?.port();
        let serving = async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut ping = [0; 4];
                    connection.read_exact(&mut ping).await?;
                    let block = vec![b'x'; BLOCK_BYTES.min(bytes)];
                    for _ in 0..bytes / block.len() {
                        connection.write_all(&block).await?;
                    }
                    Ok::<_, std::io::Error>(())
                });
            }
        };
        Ok(Self { port, task: tokio::spawn(serving).abort_handle() })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// All rows of this part.
pub(crate) async fn measure(arguments: &Arguments, backend: &Arc<dyn Backend>) -> Result<Vec<Row>> {
    eprintln!("egress through the tunnel");
    let subject = Subject::new(Arc::clone(backend));
    let probe = probe(&arguments.work)?;
    let (short, long) = (Server::start(1).await?, Server::start(DOWNLOAD_BYTES).await?);
    let count = arguments.operations.to_string();
    let [mut ours, mut direct] = [const { Vec::new() }; 2];
    let [mut added, mut rates, mut direct_rates] = [const { Vec::new() }; 3];
    for _ in 0..arguments.rounds {
        let command =
            |port: u16| ["connect-times".to_owned(), HOST.to_owned(), port.to_string(), count.clone()];
        let through = times(&inside(&subject, command(short.port), short.port).await?);
        let without = times(&outside(&probe, command(short.port)).await?);
        added.push(through.percentile(0.5) - without.percentile(0.5));
        ours.push(through);
        direct.push(without);
        let command = ["download".to_owned(), HOST.to_owned(), long.port.to_string()];
        rates.push(rate(&inside(&subject, command.clone(), long.port).await?)?);
        direct_rates.push(rate(&outside(&probe, command).await?)?);
    }
    let method = format!(
        "{} rounds of {count} in turn, one at a time, to a server on the host's loopback; beside it the same program without a sandbox",
        arguments.rounds
    );
    let mut rows = Latency {
        name: "egress: connect to the first byte of the answer",
        ours: &ours,
        beside: Some(("without a sandbox", &direct)),
        goals: None,
        method: &method,
    }
    .rows();
    rows.push(
        Row::new("egress: added by the tunnel to a connection", "ms", &added)
            .goal(Goal::Max(0.3))
            .method(format!("difference of the medians. {method}")),
    );
    rows.push(
        Row::new("egress: one download through the tunnel", "GB/s", &rates)
            .beside("without a sandbox", &direct_rates)
            .goal(Goal::Min(1.0))
            .method(format!(
                "{} rounds in turn of {} MiB; server, worker and step share the machine",
                arguments.rounds,
                DOWNLOAD_BYTES >> 20
            )),
    );
    Ok(rows)
}

fn probe(folder: &Path) -> Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("probe");
    std::fs::write(&path, sandbox::probe_binary())
        .with_context(|| format!("cannot write {}", path.display()))?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755))?;
    Ok(path)
}

/// What the probe says in a sandbox that may reach the server.
async fn inside<const N: usize>(subject: &Subject, command: [String; N], port: u16) -> Result<String> {
    let mut session = subject.open().await.map_err(anyhow::Error::msg)?;
    let mut step: Step = subject.probe(command).within(TURN_LIMIT);
    step.network = vec![NetworkRule { host: HOST.to_owned(), subdomains: false, port }];
    step.dialer = Dialer::new(OperatorPolicy::parse([format!("{HOST}:{port}")])?);
    let ran = run(&mut session, step).await;
    session.discard().await?;
    ensure!(ran.code() == Some(0), "{ran:?}");
    Ok(ran.text())
}

async fn outside<const N: usize>(probe: &Path, command: [String; N]) -> Result<String> {
    let mut probe = Command::new(probe);
    probe.args(command);
    let output = tokio::task::spawn_blocking(move || probe.output()).await??;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Times of connections, from microseconds, a line each.
fn times(said: &str) -> Samples {
    let mut samples = Samples::default();
    said.lines()
        .filter_map(|line| line.parse().ok())
        .for_each(|microseconds| samples.add(Duration::from_micros(microseconds)));
    samples
}

/// GB/s, from bytes and microseconds.
fn rate(said: &str) -> Result<f64> {
    let (bytes, microseconds) = said.split_once(' ').context("the probe said no rate")?;
    let (bytes, microseconds): (usize, f64) = (bytes.parse()?, microseconds.parse()?);
    ensure!(bytes == DOWNLOAD_BYTES, "{bytes} bytes came");
    Ok(bytes as f64 / 1e3 / microseconds)
}
