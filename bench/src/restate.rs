//! The peer Restate: its server and a service with three no-op steps, as separate processes, as it is delivered.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use bytes::Bytes;

use crate::http::{Call, Connection, Judged};
use crate::process::{POLL, Process, READY_LIMIT, fresh_folder};

/// Name and version, as in the peer's package file.
pub(crate) const NAME: &str = "Restate 1.7.12";
/// The peer's server, below the folder in which it is installed.
const SERVER: &str = "node_modules/@restatedev/restate-server-linux-x64/bin/restate-server";

/// A running peer.
pub(crate) struct Restate {
    /// Its server.
    pub(crate) server: Process,
    _service: Process,
    ingress: SocketAddr,
}

impl Restate {
    /// Starts both and registers the service. `installed` has the peer's files, `work` gets its data.
    pub(crate) async fn start(installed: &Path, work: &Path) -> Result<Restate> {
        let folder = fresh_folder(work, "restate")?;
        let [ingress, admin, node, service_at] = free_addresses()?;
        let mut service = Process::start(
            "service",
            &folder,
            Command::new("node")
                .arg("service.mjs")
                .current_dir(installed)
                .env("PORT", service_at.port().to_string())
                // A line for every invocation would slow it down.
                .env("RESTATE_LOGGING", "ERROR"),
        )?;
        service.said("that it listens", |line| (line == "the service listens").then_some(())).await?;
        let mut server = Process::start(
            "server",
            &folder,
            Command::new(installed.join(SERVER))
                .env("RESTATE_BASE_DIR", folder.join("data"))
                .env("RESTATE_INGRESS__BIND_ADDRESS", ingress.to_string())
                .env("RESTATE_ADMIN__BIND_ADDRESS", admin.to_string())
                .env("RESTATE_BIND_ADDRESS", node.to_string())
                .env("RESTATE_LOG_FILTER", "warn")
                .env("RESTATE_DISABLE_TELEMETRY", "true")
                .env("DO_NOT_TRACK", "1"),
        )?;
        let deployment = format!(r#"{{"uri":"http://{service_at}"}}"#);
        until_done(&mut server, &post(admin, "/deployments", deployment)).await?;
        let restate = Restate { server, _service: service, ingress };
        let mut restate = restate;
        let call = restate.three_steps();
        until_done(&mut restate.server, &call).await?;
        Ok(restate)
    }

    /// A run of three no-op steps, answered when it has ended.
    pub(crate) fn three_steps(&self) -> Call {
        post(self.ingress, "/bench/three", String::new())
    }
}

/// When the first step of a run ran, from what the run returned: nanoseconds of CLOCK_MONOTONIC.
pub(crate) fn first_step_ns(answer: &[u8]) -> Result<u64> {
    #[derive(serde::Deserialize)]
    struct Returned {
        first: String,
    }
    let returned: Returned = serde_json::from_slice(answer).context("the service returned something else")?;
    returned.first.parse().context("the service returned no time")
}

fn post(address: SocketAddr, path: &str, body: String) -> Call {
    // Anything but a success is an error already, and an answer comes when the run has ended.
    let judge = |_: &[u8]| Ok(Judged::Done);
    Call { address, path: path.to_owned(), headers: Vec::new(), body: Bytes::from(body), judge }
}

/// Calls until the server answers well.
async fn until_done(server: &mut Process, call: &Call) -> Result<()> {
    let deadline = Instant::now() + READY_LIMIT;
    loop {
        let called = async { Connection::open(call.address).await?.run(call).await };
        match called.await {
            Ok(_) => return Ok(()),
            Err(error) if Instant::now() > deadline => bail!("{} is not ready: {error:#}", call.path),
            Err(_) => server.check()?,
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Addresses on loopback that were free a moment ago.
fn free_addresses<const N: usize>() -> Result<[SocketAddr; N]> {
    // All are held until all are known, so that they differ.
    let held: Vec<TcpListener> =
        (0..N).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<Result<_, _>>()?;
    let addresses: Vec<SocketAddr> = held.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?;
    Ok(addresses.try_into().expect("as many as were asked for"))
}
