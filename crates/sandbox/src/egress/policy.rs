//! The operator's list of private destinations that steps may reach although they are private.

use std::net::IpAddr;

use super::address::{AddressClass, classify, contains};
use super::host::{Host, HostError};

/// Private destinations that the operator allows. The default allows none.
///
/// It opens nothing by itself: a step reaches a destination only if its own allow-list names it too.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OperatorPolicy {
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    /// Any port of the addresses in a network.
    Network { address: IpAddr, prefix: u8 },
    /// A name or address with one port, whatever the name resolves to.
    Destination { host: Host, port: u16 },
}

/// Why an entry of the operator's list is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// Neither `host:port` nor a network.
    #[error("`{0}` is neither `host:port` nor a network such as `10.0.0.0/8`")]
    Shape(String),
    /// The host part is none.
    #[error("`{0}`: {1}")]
    Host(String, HostError),
}

impl OperatorPolicy {
    /// Reads entries: `db.internal:5432`, `127.0.0.1:8080`, `[::1]:8080`, `10.0.0.0/8`, `fd00::/8`.
    pub fn parse<S: AsRef<str>>(entries: impl IntoIterator<Item = S>) -> Result<Self, PolicyError> {
        let entries =
            entries.into_iter().map(|entry| Entry::parse(entry.as_ref())).collect::<Result<_, _>>()?;
        Ok(Self { entries })
    }

    /// Whether a connection to `address`, which is what `host` resolved to, may be made: it is public, or listed.
    pub fn permits(&self, host: &Host, port: u16, address: IpAddr) -> Result<(), &'static str> {
        let AddressClass::Private(kind) = classify(address) else { return Ok(()) };
        let listed = self.entries.iter().any(|entry| match entry {
            Entry::Network { address: network, prefix } => contains(*network, *prefix, address),
            Entry::Destination { host: listed, port: at } => listed == host && *at == port,
        });
        if listed { Ok(()) } else { Err(kind) }
    }
}

impl Entry {
    fn parse(text: &str) -> Result<Self, PolicyError> {
        let shape = || PolicyError::Shape(text.to_owned());
        if let Some((address, prefix)) = text.split_once('/') {
            let address: IpAddr = address.parse().map_err(|_| shape())?;
            let prefix: u8 = prefix.parse().map_err(|_| shape())?;
            let bits = if address.is_ipv4() { 32 } else { 128 };
            return if prefix <= bits { Ok(Self::Network { address, prefix }) } else { Err(shape()) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(shape)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(shape)?;
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let host = Host::parse(host).map_err(|error| PolicyError::Host(text.to_owned(), error))?;
        Ok(Self::Destination { host, port })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(policy: &[&str], host: &str, port: u16, address: &str) -> bool {
        let policy = OperatorPolicy::parse(policy).expect("well-formed");
        let host = Host::parse(host).expect("a host");
        policy.permits(&host, port, address.parse().expect("an address")).is_ok()
    }

    #[test]
    fn public_needs_no_entry_and_private_needs_its_own() {
        assert!(permits(&[], "example.com", 443, "8.8.8.8"));
        assert!(!permits(&[], "db.internal", 5432, "10.1.2.3"));
        assert!(permits(&["db.internal:5432"], "db.internal", 5432, "10.1.2.3"));
        assert!(!permits(&["db.internal:5432"], "db.internal", 5433, "10.1.2.3"));
        assert!(!permits(&["db.internal:5432"], "other.internal", 5432, "10.1.2.3"));
        assert!(permits(&["10.0.0.0/8"], "db.internal", 1, "10.1.2.3"));
        assert!(
            !permits(&["10.0.0.0/8"], "db.internal", 1, "11.0.0.0") || permits(&[], "x.y", 1, "11.0.0.0")
        );
        assert!(!permits(&["10.0.0.0/8"], "db.internal", 1, "127.0.0.1"));
        assert!(permits(&["[::1]:80"], "::1", 80, "::1"));
        assert!(permits(&["fd00::/8"], "db.internal", 80, "fd00::7"));
        assert!(permits(&["0.0.0.0/0"], "db.internal", 80, "192.168.0.1"));
    }

    #[test]
    fn wrong_entries_are_errors_that_show_them() {
        for entry in
            ["", "host", "host:0", "host:70000", "10.0.0.0/33", "10.0.0/8", "::/129", "127.1:80", "a b:80"]
        {
            let error = OperatorPolicy::parse([entry]).expect_err(entry).to_string();
            assert!(error.contains(entry), "{error}");
        }
    }
}
