//! Resolves a host, checks each address, and dials only what was checked.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use protocol::step::NetworkRule;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::host::{Host, allows};
use super::policy::OperatorPolicy;

/// The longest a name may take to resolve.
const RESOLVE_LIMIT: Duration = Duration::from_secs(5);
/// The longest one address may take to connect.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Addresses of one name that are tried, at most.
const MAX_ADDRESSES: usize = 8;

/// Turns a name into addresses.
#[async_trait]
pub trait Resolve: Send + Sync {
    /// All addresses of `name`, in order of preference.
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>>;
}

/// The resolver of this machine.
pub struct SystemResolver;

#[async_trait]
impl Resolve for SystemResolver {
    async fn resolve(&self, name: &str) -> std::io::Result<Vec<IpAddr>> {
        // The trailing dot keeps the machine's search domains out: the name that was matched is the one resolved.
        // A name of one label, such as a container's or `localhost`, may only be known without it.
        let absolute = if name.contains('.') { format!("{name}.") } else { name.to_owned() };
        Ok(tokio::net::lookup_host((absolute, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// A refused or failed connection, for the run's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Host as asked for, cleaned and shortened.
    pub host: String,
    /// TCP port; 0 where it is not known.
    pub port: u16,
    /// Why.
    pub reason: DenialReason,
}

/// Why a connection was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DenialReason {
    /// The step's allow-list does not name it.
    NotListed,
    /// The text is no host.
    BadName(super::HostError),
    /// It resolves to such an address only, and the operator has not allowed that.
    PrivateAddress(IpAddr, &'static str),
    /// It does not resolve.
    NotResolved,
    /// No address accepted the connection.
    Unreachable(std::io::ErrorKind),
    /// The sandbox has too many tunnels open.
    TooManyTunnels,
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port, reason } = self;
        match (reason, port) {
            (DenialReason::NotListed, 0) => write!(f, "{host}: not in the step's `network` list"),
            (DenialReason::NotListed, _) => write!(f, "{host}:{port}: not in the step's `network` list"),
            (DenialReason::BadName(error), _) => write!(f, "{host}:{port}: {error}"),
            (DenialReason::PrivateAddress(address, kind), _) => write!(
                f,
                "{host}:{port}: resolves to {address} ({kind}), which the worker's operator has not allowed"
            ),
            (DenialReason::NotResolved, _) => write!(f, "{host}:{port}: the name does not resolve"),
            (DenialReason::Unreachable(kind), _) => write!(f, "{host}:{port}: {kind}"),
            (DenialReason::TooManyTunnels, _) => write!(f, "{host}:{port}: too many connections at once"),
        }
    }
}

/// Connects to hosts, keeping away from private addresses that the operator has not listed.
#[derive(Clone)]
pub struct Dialer {
    policy: Arc<OperatorPolicy>,
    resolver: Arc<dyn Resolve>,
}

impl Dialer {
    /// With this machine's resolver.
    pub fn new(policy: OperatorPolicy) -> Self {
        Self::with_resolver(policy, Arc::new(SystemResolver))
    }

    /// With another resolver.
    pub fn with_resolver(policy: OperatorPolicy, resolver: Arc<dyn Resolve>) -> Self {
        Self { policy: Arc::new(policy), resolver }
    }

    /// The addresses of `host` that may be dialled; at least one. Dial these and resolve no more.
    pub async fn addresses(&self, host: &Host, port: u16) -> Result<Vec<SocketAddr>, DenialReason> {
        let resolved = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => match timeout(RESOLVE_LIMIT, self.resolver.resolve(name)).await {
                Ok(Ok(addresses)) => addresses,
                Ok(Err(_)) | Err(_) => return Err(DenialReason::NotResolved),
            },
        };
        let mut refused = DenialReason::NotResolved;
        let mut permitted = Vec::new();
        for address in resolved {
            match self.policy.permits(host, port, address) {
                Ok(()) => permitted.push(SocketAddr::new(address, port)),
                Err(kind) => refused = DenialReason::PrivateAddress(address, kind),
            }
        }
        permitted.truncate(MAX_ADDRESSES);
        if permitted.is_empty() { Err(refused) } else { Ok(permitted) }
    }

    /// Connects to the first permitted address that accepts.
    pub async fn connect(&self, host: &Host, port: u16) -> Result<TcpStream, DenialReason> {
        let mut last = std::io::ErrorKind::TimedOut;
        for address in self.addresses(host, port).await? {
            match timeout(CONNECT_LIMIT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small packets of interactive protocols should not wait for each other.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => last = error.kind(),
                Err(_) => last = std::io::ErrorKind::TimedOut,
            }
        }
        Err(DenialReason::Unreachable(last))
    }
}

/// Where one step's tunnels may go: its own allow-list, and the operator's policy behind it.
#[derive(Clone)]
pub struct Egress {
    rules: Arc<[NetworkRule]>,
    dialer: Dialer,
}

impl Egress {
    /// The step's allow-list over a dialer.
    pub fn new(rules: impl Into<Arc<[NetworkRule]>>, dialer: Dialer) -> Self {
        Self { rules: rules.into(), dialer }
    }

    /// Nowhere.
    pub fn none() -> Self {
        Self::new([], Dialer::new(OperatorPolicy::default()))
    }

    /// Connects for a tunnel that asks for `host` and `port`, as a hostile guest spelled them.
    pub(crate) async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, DenialReason> {
        let host = Host::parse(host).map_err(DenialReason::BadName)?;
        if !allows(&self.rules, &host, port) {
            return Err(DenialReason::NotListed);
        }
        self.dialer.connect(&host, port).await
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::net::TcpListener;

    use super::*;

    /// Answers with the first list once, then with the second for ever: a name that is rebound.
    struct Rebinding(AtomicUsize, Vec<IpAddr>, Vec<IpAddr>);

    #[async_trait]
    impl Resolve for Rebinding {
        async fn resolve(&self, _: &str) -> std::io::Result<Vec<IpAddr>> {
            Ok(if self.0.fetch_add(1, Ordering::SeqCst) == 0 { self.1.clone() } else { self.2.clone() })
        }
    }

    fn egress(policy: &[&str], addresses: &[&str]) -> (Egress, Arc<Rebinding>) {
        let addresses = addresses.iter().map(|text| text.parse().expect("an address")).collect();
        let localhost = vec![IpAddr::from([127, 0, 0, 1])];
        let resolver = Arc::new(Rebinding(AtomicUsize::new(0), addresses, localhost));
        let policy = OperatorPolicy::parse(policy).expect("well-formed");
        let rule = |port| NetworkRule { host: "db.acme.com".to_owned(), subdomains: false, port };
        let rules: Vec<NetworkRule> = (1..=u16::MAX).map(rule).collect();
        (Egress::new(rules, Dialer::with_resolver(policy, Arc::clone(&resolver) as _)), resolver)
    }

    #[tokio::test]
    async fn a_listed_name_that_resolves_to_a_private_address_is_refused() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        for address in
            ["127.0.0.1", "10.0.0.1", "169.254.169.254", "::1", "fd00::1", "::ffff:127.0.0.1", "0.0.0.0"]
        {
            let (egress, _) = egress(&[], &[address]);
            let refused = egress.connect("db.acme.com", port).await.expect_err(address);
            assert!(matches!(refused, DenialReason::PrivateAddress(..)), "{address}: {refused:?}");
        }
    }

    #[tokio::test]
    async fn a_listed_private_destination_is_dialled() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let (egress, _) = egress(&[&format!("db.acme.com:{port}")], &["127.0.0.1"]);
        let stream = egress.connect("db.acme.com", port).await.expect("allowed");
        assert_eq!(stream.peer_addr().expect("connected").port(), port);
    }

    #[tokio::test]
    async fn a_name_is_resolved_once_so_that_it_cannot_be_rebound() {
        // The first answer is public and unroutable here; the second, were it asked for, would be this machine.
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let (egress, resolver) = egress(&["203.0.113.0/24"], &["203.0.113.1"]);
        let host = Host::parse("db.acme.com").expect("a host");
        let checked = egress.dialer.addresses(&host, port).await.expect("listed by the operator");
        assert_eq!(checked, [SocketAddr::from(([203, 0, 113, 1], port))]);
        assert_eq!(resolver.0.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn of_mixed_addresses_only_the_permitted_are_dialled() {
        let (egress, _) = egress(&[], &["10.0.0.1", "8.8.8.8", "::1"]);
        let host = Host::parse("db.acme.com").expect("a host");
        let checked = egress.dialer.addresses(&host, 443).await.expect("one is public");
        assert_eq!(checked, [SocketAddr::from(([8, 8, 8, 8], 443))]);
    }

    #[tokio::test]
    async fn what_is_not_listed_is_not_even_resolved() {
        let (egress, resolver) = egress(&[], &["8.8.8.8"]);
        let refused = egress.connect("evil.example", 443).await.expect_err("not listed");
        assert_eq!(refused, DenialReason::NotListed);
        let refused = Egress::none().connect("db.acme.com", 443).await.expect_err("nothing is");
        assert_eq!(refused, DenialReason::NotListed);
        assert_eq!(resolver.0.load(Ordering::SeqCst), 0);
    }
}
