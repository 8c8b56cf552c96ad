//! Attacks on the tunnels, and the use that must go on working beside them.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use protocol::step::NetworkRule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{Attack, Verdict, done, open, refused_unless, told};
use crate::conformance::{Ran, Step, run};
use crate::egress::{Denial, DenialReason, Dialer, OperatorPolicy, Resolve};
use crate::{Backend, Template};

/// What the host's listener says to who connects.
const GREETING: &[u8] = b"hello from outside";
/// Within this time after the end of a sandbox its host sockets must be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);

pub(super) const ATTACKS: &[Attack] = &[
    Attack {
        name: "forged-frames",
        defence: "the step writes to its own pipes, never to the channel",
        run: |backend| Box::pin(forged_frames(backend)),
    },
    Attack {
        name: "unlisted-destination",
        defence: "the guest's DNS answers listed names only, the worker checks again",
        run: |backend| Box::pin(unlisted(backend)),
    },
    Attack {
        name: "listed-name-of-a-private-address",
        defence: "the worker classifies the resolved address and dials only what the operator allows",
        run: |backend| Box::pin(private_address(backend)),
    },
    Attack {
        name: "other-port-of-a-listed-host",
        defence: "name and port are matched together",
        run: |backend| Box::pin(other_port(backend)),
    },
    Attack {
        name: "sockets-after-the-end",
        defence: "the session owns its tunnels",
        run: |backend| Box::pin(after_the_end(backend)),
    },
];

/// Connects, says something, prints what it hears. A shell of bash would do, python is there more often.
const CLIENT: &str = "import socket,sys
connection = socket.create_connection((sys.argv[1], int(sys.argv[2])), 10)
connection.sendall(b'ping')
print(connection.recv(100).decode(), flush=True)
if len(sys.argv) > 3: connection.recv(100)
";

/// A name that leads to the loopback of the host.
const GREETER: &str = "greeter.example";

/// Resolves every name to the loopback of the host.
struct Loopback;

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

fn rule(host: &str, port: u16) -> NetworkRule {
    NetworkRule { host: host.to_owned(), subdomains: false, port }
}

/// A step that connects to `host` and `port` with these rules, and these entries of the operator's.
fn client(host: &str, port: u16, network: Vec<NetworkRule>, operator: &[&str]) -> Result<Step, String> {
    let mut step = Step::new(["python3", "-I", "-S", "-c", CLIENT, host, &port.to_string()]);
    step.network = network;
    let policy = OperatorPolicy::parse(operator).map_err(|error| error.to_string())?;
    step.dialer = Dialer::with_resolver(policy, Arc::new(Loopback));
    Ok(step)
}

/// A listener of the host that greets whoever comes.
async fn greeter() -> Result<u16, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut heard = [0; 4];
            if connection.read_exact(&mut heard).await.is_ok() {
                let _ = connection.write_all(GREETING).await;
            }
        }
    });
    Ok(port)
}

async fn ran(backend: &dyn Backend, step: Step) -> Result<Ran, String> {
    let mut session = open(backend, &Template::default()).await?;
    let ran = run(&mut session, step).await;
    done(session).await?;
    Ok(ran)
}

fn lacks_python(ran: &Ran) -> Option<Verdict> {
    matches!(ran.exit, Err(crate::SandboxError::Refused { .. }))
        .then(|| Verdict::Skipped("there is no python3 in the sandbox".to_owned()))
}

fn heard(ran: &Ran) -> bool {
    ran.text().as_bytes() == GREETING
}

async fn forged_frames(backend: &dyn Backend) -> Result<Verdict, String> {
    let mut forged = Vec::new();
    let exit =
        protocol::frame::FromGuest::Exited { code: Some(77), signal: None, max_rss_bytes: 0, cpu_us: 0 };
    protocol::frame::codec::encode(&exit, &mut forged).map_err(|error| error.to_string())?;
    let step = Step::shell("tee /proc/self/fd/2; exit 3").with_stdin(forged.clone());
    let ran = ran(backend, step).await?;
    let intact = ran.code() == Some(3) && ran.stdout == forged && ran.stderr == forged;
    Ok(refused_unless(!intact, || format!("{ran:?}")))
}

async fn unlisted(backend: &dyn Backend) -> Result<Verdict, String> {
    let port = greeter().await?;
    // Nothing listed, and something else listed.
    for rules in [vec![], vec![rule("db.acme.com", port)]] {
        let ran = ran(backend, client(GREETER, port, rules, &["127.0.0.0/8"])?).await?;
        if let Some(skipped) = lacks_python(&ran) {
            return Ok(skipped);
        }
        if heard(&ran) || ran.code() == Some(0) {
            return Ok(Verdict::Leaked(format!("{ran:?}")));
        }
        if ran.denied.is_empty() {
            return Err(format!("the refusal is not told: {ran:?}"));
        }
    }
    Ok(Verdict::Refused)
}

async fn private_address(backend: &dyn Backend) -> Result<Verdict, String> {
    let port = greeter().await?;
    let listed = || vec![rule(GREETER, port)];
    let refused = ran(backend, client(GREETER, port, listed(), &["10.0.0.0/8"])?).await?;
    if let Some(skipped) = lacks_python(&refused) {
        return Ok(skipped);
    }
    if heard(&refused) {
        return Ok(Verdict::Leaked("the loopback of the host was reached".to_owned()));
    }
    let told = |denial: &Denial| matches!(denial.reason, DenialReason::PrivateAddress(..));
    if !refused.denied.iter().any(told) {
        return Err(format!("the refusal is not told: {refused:?}"));
    }
    // The same with the operator's leave, so that it was the address that was refused.
    let allowed = ran(backend, client(GREETER, port, listed(), &["127.0.0.0/8"])?).await?;
    if heard(&allowed) { Ok(Verdict::Refused) } else { Err(format!("the tunnel does not work: {allowed:?}")) }
}

async fn other_port(backend: &dyn Backend) -> Result<Verdict, String> {
    let (listed, other) = (greeter().await?, greeter().await?);
    let ran = ran(backend, client(GREETER, other, vec![rule(GREETER, listed)], &["127.0.0.0/8"])?).await?;
    if let Some(skipped) = lacks_python(&ran) {
        return Ok(skipped);
    }
    Ok(refused_unless(heard(&ran), || format!("{ran:?}")))
}

async fn after_the_end(backend: &dyn Backend) -> Result<Verdict, String> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let mut step = client(GREETER, port, vec![rule(GREETER, port)], &["127.0.0.0/8"])?;
    // One argument more makes the client stay.
    step.argv.push("stay".to_owned());
    let cancel = step.cancel.clone();
    let mut session = open(backend, &Template::default()).await?;
    let serving = async {
        let accepted = tokio::time::timeout(Duration::from_secs(20), listener.accept()).await;
        let Ok(Ok((mut connection, _))) = accepted else {
            cancel.cancel();
            return None;
        };
        let mut ping = [0; 4];
        connection.read_exact(&mut ping).await.ok()?;
        connection.write_all(GREETING).await.ok()?;
        cancel.cancel();
        Some(connection)
    };
    let (ran, connection) = tokio::join!(run(&mut session, step), serving);
    if let Some(skipped) = lacks_python(&ran) {
        return Ok(skipped);
    }
    let Some(mut connection) = connection else {
        return Err(format!("the tunnel did not come about: {ran:?}"));
    };
    let ended = Instant::now();
    session.discard().await.map_err(told)?;
    let closed = tokio::time::timeout(CLOSE_LIMIT, connection.read_to_end(&mut Vec::new())).await;
    Ok(refused_unless(closed.is_err(), || {
        format!("the host's socket is open {:?} after the end", ended.elapsed())
    }))
}
