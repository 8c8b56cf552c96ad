//! Attacks on the tunnels, and the use that must go on working beside them.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::conformance::{Ran, Step, run};
use crate::egress::{Denial, DenialReason};
use crate::suite::{Case, GREETING, Greeter, NAME, Need, Outside, Subject, Why, done, ensure, rule};

/// Within this time after the end of a sandbox its host sockets must be closed.
const CLOSE_LIMIT: Duration = Duration::from_secs(1);
/// How long the host waits for the step's connection.
const ACCEPT_LIMIT: Duration = Duration::from_secs(20);
/// What the operator allows where the tunnel must work.
const LOOPBACK: &[&str] = &["127.0.0.0/8"];

pub(super) const ATTACKS: &[Case] = &[
    Case {
        name: "forged-frames",
        defence: "the step writes to its own pipes, never to the channel",
        needs: &[],
        run: |s| Box::pin(forged_frames(s, false)),
    },
    Case {
        name: "frames-forged-on-a-terminal",
        defence: "the guest reads the terminal as data",
        needs: &[Need::Terminal],
        run: |s| Box::pin(forged_frames(s, true)),
    },
    Case {
        name: "unlisted-destination",
        defence: "the guest's DNS answers listed names only, the worker checks again",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(unlisted(s)),
    },
    Case {
        name: "listed-name-of-a-private-address",
        defence: "the worker classifies the resolved address and dials only what the operator allows",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(private_address(s)),
    },
    Case {
        name: "other-port-of-a-listed-host",
        defence: "name and port are matched together",
        needs: &[Need::Tunnel],
        run: |s| Box::pin(other_port(s)),
    },
    Case {
        name: "sockets-after-the-end",
        defence: "the session owns its tunnels",
        needs: &[Need::Tunnel, Need::Interactive],
        run: |s| Box::pin(after_the_end(s)),
    },
];

/// A step that connects to `host` and `port` and says `ping`, with these ports of the name listed.
fn client(subject: &Subject, port: u16, listed: &[(&str, u16)], operator: &[&str]) -> Result<Step, String> {
    let listed = listed.iter().map(|(host, port)| rule(host, *port)).collect();
    Outside { listed, operator }.of(subject.probe(["fetch", NAME, &port.to_string(), "ping"]))
}

async fn ran(subject: &Subject, step: Step) -> Result<Ran, Why> {
    let mut session = subject.open().await?;
    let ran = run(&mut session, step).await;
    done(session).await?;
    Ok(ran)
}

fn heard(ran: &Ran) -> bool {
    ran.text().contains(GREETING)
}

async fn forged_frames(subject: &Subject, terminal: bool) -> Result<(), Why> {
    let mut forged = Vec::new();
    let exit =
        protocol::frame::FromGuest::Exited { code: Some(77), signal: None, max_rss_bytes: 0, cpu_us: 0 };
    protocol::frame::codec::encode(&exit, &mut forged).map_err(|error| error.to_string())?;
    let mut step = subject.probe(["relay"]).with_stdin(forged.clone());
    step.terminal = terminal;
    if terminal {
        // A terminal ends its input where a line begins, not where the worker's ends.
        step = step.with_stdin([forged.as_slice(), b"\n\x04"].concat());
    }
    let ran = ran(subject, step).await?;
    let intact = terminal || (ran.stdout == forged && ran.stderr == forged);
    ensure(ran.code() == Some(3) && intact, || format!("{ran:?}"))
}

async fn unlisted(subject: &Subject) -> Result<(), Why> {
    let greeter = Greeter::start().await?;
    // Nothing listed, and something else listed.
    for listed in [&[][..], &[("db.acme.com", greeter.port)]] {
        let ran = ran(subject, client(subject, greeter.port, listed, LOOPBACK)?).await?;
        ensure(!heard(&ran), || format!("{ran:?}"))?;
        ensure(!ran.denied.is_empty(), || format!("nothing, but the refusal is not told: {ran:?}"))?;
    }
    Ok(())
}

async fn private_address(subject: &Subject) -> Result<(), Why> {
    let greeter = Greeter::start().await?;
    let listed = [(NAME, greeter.port)];
    let refused = ran(subject, client(subject, greeter.port, &listed, &["10.0.0.0/8"])?).await?;
    ensure(!heard(&refused), || "the loopback of the host was reached".to_owned())?;
    let told = |denial: &Denial| matches!(denial.reason, DenialReason::PrivateAddress(..));
    ensure(refused.denied.iter().any(told), || format!("nothing, but the refusal is not told: {refused:?}"))?;
    // The same with the operator's leave, so that it was the address that was refused.
    let allowed = ran(subject, client(subject, greeter.port, &listed, LOOPBACK)?).await?;
    ensure(heard(&allowed), || format!("nothing, but the tunnel does not work: {allowed:?}"))
}

async fn other_port(subject: &Subject) -> Result<(), Why> {
    let (listed, other) = (Greeter::start().await?, Greeter::start().await?);
    let ran = ran(subject, client(subject, other.port, &[(NAME, listed.port)], LOOPBACK)?).await?;
    ensure(!heard(&ran), || format!("{ran:?}"))
}

async fn after_the_end(subject: &Subject) -> Result<(), Why> {
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let port = listener.local_addr().map_err(|error| error.to_string())?.port();
    let step = subject.probe(["hold", NAME, &port.to_string(), "ping"]);
    let step = Outside { listed: vec![rule(NAME, port)], operator: LOOPBACK }.of(step)?;
    let cancel = step.cancel.clone();
    let mut session = subject.open().await?;
    let serving = async {
        let accepted = tokio::time::timeout(ACCEPT_LIMIT, listener.accept()).await;
        let Ok(Ok((mut connection, _))) = accepted else {
            cancel.cancel();
            return None;
        };
        let mut ping = [0; 4];
        connection.read_exact(&mut ping).await.ok()?;
        connection.write_all(GREETING.as_bytes()).await.ok()?;
        cancel.cancel();
        Some(connection)
    };
    let (ran, connection) = tokio::join!(run(&mut session, step), serving);
    let Some(mut connection) = connection else {
        return Err(Why::Broken(format!("nothing, but the tunnel did not come about: {ran:?}")));
    };
    done(session).await?;
    let closed = tokio::time::timeout(CLOSE_LIMIT, connection.read_to_end(&mut Vec::new())).await;
    ensure(closed.is_ok(), || format!("the host's socket is open {CLOSE_LIMIT:?} after the end"))
}
