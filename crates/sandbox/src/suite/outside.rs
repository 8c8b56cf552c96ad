//! What stands outside of a sandbox: a server of this machine that greets, under a name that only the worker resolves.

use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use protocol::step::NetworkRule;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::step::Step;
use crate::egress::{Dialer, OperatorPolicy, Resolve};

/// What the server says to who connects and says `ping`.
pub(crate) const GREETING: &str = "hello from outside";
/// A name that leads to the loopback of this machine.
pub(crate) const NAME: &str = "greeter.example";

/// Resolves every name to the loopback of this machine.
struct Loopback;

#[async_trait]
impl Resolve for Loopback {
    async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
        Ok(vec![IpAddr::from([127, 0, 0, 1])])
    }
}

/// A server on loopback that greets whoever says `ping`, until it is dropped.
pub(crate) struct Greeter {
    pub(crate) port: u16,
    task: tokio::task::AbortHandle,
}

impl Greeter {
    pub(crate) async fn start() -> Result<Self, String> {
        let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
        let port = listener.local_addr().map_err(|error| error.to_string())?.port();
        let greeting = async move {
            while let Ok((mut connection, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut heard = [0; 4];
                    if connection.read_exact(&mut heard).await.is_ok() {
                        let _ = connection.write_all(GREETING.as_bytes()).await;
                    }
                });
            }
        };
        Ok(Self { port, task: tokio::spawn(greeting).abort_handle() })
    }
}

impl Drop for Greeter {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A rule of a step's allow-list.
pub(crate) fn rule(host: &str, port: u16) -> NetworkRule {
    NetworkRule { host: host.to_owned(), subdomains: false, port }
}

/// What a step may reach, and what of it the operator allows to be private.
pub(crate) struct Outside<'a> {
    pub(crate) listed: Vec<NetworkRule>,
    pub(crate) operator: &'a [&'a str],
}

impl Outside<'_> {
    /// The step with this network; every name leads to the loopback of this machine.
    pub(crate) fn of(self, mut step: Step) -> Result<Step, String> {
        let policy = OperatorPolicy::parse(self.operator).map_err(|error| error.to_string())?;
        step.network = self.listed;
        step.dialer = Dialer::with_resolver(policy, Arc::new(Loopback));
        Ok(step)
    }
}
