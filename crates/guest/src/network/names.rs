//! The names that the step may look up, and the loopback address that each stands for. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr};

use protocol::step::NetworkRule;

/// Names that can have an address at once; subdomains get theirs when they are looked up.
const MOST_NAMES: usize = 1024;
/// Longest name that is listed or looked up.
const MOST_NAME_BYTES: usize = 253;
/// The one name that is not looked up by a resolver: /etc/hosts has it.
const LOCALHOST: &str = "localhost";

/// Where the guest listens for one destination.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    /// The destination's host, as the worker gets it.
    pub(super) host: String,
}

/// What a look-up says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Lookup {
    /// The name's address, and where to listen from now on.
    Known { address: Ipv4Addr, new: Vec<Place> },
    /// It is not listed, or there are too many names already.
    Unknown,
}

/// The allow-list, with the addresses given so far.
pub(super) struct Names {
    rules: Vec<NetworkRule>,
    addresses: BTreeMap<String, Ipv4Addr>,
}

impl Names {
    pub(super) fn new(rules: &[NetworkRule]) -> Self {
        Names { rules: rules.to_vec(), addresses: BTreeMap::new() }
    }

    /// Where to listen from the start: names that are listed whole, and addresses.
    pub(super) fn places(&mut self) -> Vec<Place> {
        let mut places = BTreeSet::new();
        for rule in self.rules.clone() {
            let (host, port) = (rule.host.clone(), rule.port);
            if let Some(address) = literal(&host) {
                places.insert(Place { address, port, host });
            } else if host == LOCALHOST {
                places.insert(Place { address: Ipv4Addr::LOCALHOST.into(), port, host });
            } else if !rule.subdomains
                && let Lookup::Known { new, .. } = self.look_up(&host)
            {
                places.extend(new);
            }
        }
        places.into_iter().collect()
    }

    /// Looks a name up, in any case of letters.
    pub(super) fn look_up(&mut self, name: &str) -> Lookup {
        let name = name.to_ascii_lowercase();
        if let Some(address) = self.addresses.get(&name) {
            return Lookup::Known { address: *address, new: Vec::new() };
        }
        let ports: BTreeSet<u16> =
            self.rules.iter().filter(|rule| means(rule, &name)).map(|rule| rule.port).collect();
        let full = self.addresses.len() >= MOST_NAMES;
        if ports.is_empty() || full || name.len() > MOST_NAME_BYTES || literal(&name).is_some() {
            return Lookup::Unknown;
        }
        let address = match name.as_str() {
            LOCALHOST => Ipv4Addr::LOCALHOST,
            _ => nth_address(self.addresses.len()),
        };
        let new = ports.into_iter().map(|port| Place { address: address.into(), port, host: name.clone() });
        let new = new.collect();
        self.addresses.insert(name, address);
        Lookup::Known { address, new }
    }
}

fn means(rule: &NetworkRule, name: &str) -> bool {
    match name.strip_suffix(rule.host.as_str()) {
        Some("") => !rule.subdomains,
        Some(below) => rule.subdomains && below.len() > 1 && below.ends_with('.'),
        None => false,
    }
}

/// The address that a host text is, in its usual form or, for IPv6, in brackets.
fn literal(host: &str) -> Option<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    bare.parse().ok()
}

/// 127.77.1.1, 127.77.1.2, … 127.77.1.250, 127.77.2.1, …; 127.77.0.x is the resolver's.
fn nth_address(n: usize) -> Ipv4Addr {
    const PER_NET: usize = 250;
    let byte = |n: usize| u8::try_from(n).expect("the number of names is limited");
    Ipv4Addr::new(127, 77, byte(1 + n / PER_NET), byte(1 + n % PER_NET))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> NetworkRule {
        let (host, port) = text.rsplit_once(':').unwrap();
        let (host, subdomains) = host.strip_prefix("*.").map_or((host, false), |host| (host, true));
        NetworkRule { host: host.into(), subdomains, port: port.parse().unwrap() }
    }

    fn names(rules: &[&str]) -> Names {
        Names::new(&rules.iter().map(|text| rule(text)).collect::<Vec<_>>())
    }

    fn place(address: [u8; 4], port: u16, host: &str) -> Place {
        Place { address: Ipv4Addr::from(address).into(), port, host: host.into() }
    }

    #[test]
    fn listed_names_have_addresses_from_the_start() {
        let mut names = names(&["db.acme.internal:5432", "api.acme.com:443", "api.acme.com:8443"]);
        assert_eq!(
            names.places(),
            [
                place([127, 77, 1, 1], 5432, "db.acme.internal"),
                place([127, 77, 1, 2], 443, "api.acme.com"),
                place([127, 77, 1, 2], 8443, "api.acme.com"),
            ]
        );
        let known = Lookup::Known { address: Ipv4Addr::new(127, 77, 1, 2), new: Vec::new() };
        assert_eq!(names.look_up("API.Acme.Com"), known);
    }

    #[test]
    fn subdomains_get_theirs_when_they_are_looked_up() {
        let mut names = names(&["*.acme.com:443"]);
        assert!(names.places().is_empty());
        for unknown in ["acme.com", ".acme.com", "evilacme.com", "a.acme.com.evil.org", "a.acme.com.", ""] {
            assert_eq!(names.look_up(unknown), Lookup::Unknown, "{unknown}");
        }
        assert_eq!(
            names.look_up("a.b.acme.com"),
            Lookup::Known {
                address: Ipv4Addr::new(127, 77, 1, 1),
                new: vec![place([127, 77, 1, 1], 443, "a.b.acme.com")]
            }
        );
    }

    #[test]
    fn a_name_listed_whole_and_as_subdomain_has_both_ports() {
        let mut names = names(&["*.acme.com:443", "a.acme.com:5432"]);
        let ports: Vec<u16> = names.places().iter().map(|place| place.port).collect();
        assert_eq!(ports, [443, 5432]);
    }

    #[test]
    fn addresses_and_localhost_are_themselves() {
        let mut names = names(&["127.0.0.1:8080", "10.1.2.3:80", "[::1]:81", "localhost:82"]);
        let places: Vec<(String, u16)> =
            names.places().iter().map(|place| (place.address.to_string(), place.port)).collect();
        assert_eq!(
            places,
            [("10.1.2.3", 80), ("127.0.0.1", 82), ("127.0.0.1", 8080), ("::1", 81)]
                .map(|(address, port)| (address.to_owned(), port))
        );
        // Octal, hexadecimal and mapped forms are no names.
        for unknown in ["10.1.2.3", "0x7f.1", "0177.0.0.1", "::ffff:127.0.0.1"] {
            assert_eq!(names.look_up(unknown), Lookup::Unknown, "{unknown}");
        }
    }

    #[test]
    fn names_are_limited_and_their_addresses_differ() {
        let mut names = names(&["*.acme.com:443"]);
        let mut seen = BTreeSet::new();
        for n in 0..MOST_NAMES {
            match names.look_up(&format!("n{n}.acme.com")) {
                Lookup::Known { address, .. } => assert!(seen.insert(address)),
                Lookup::Unknown => panic!("{n}"),
            }
        }
        assert_eq!(names.look_up("one-more.acme.com"), Lookup::Unknown);
        assert_eq!(names.look_up(&format!("{}.acme.com", "a".repeat(250))), Lookup::Unknown);
    }

    #[test]
    fn an_empty_policy_knows_nothing() {
        assert_eq!(names(&[]).look_up("example.com"), Lookup::Unknown);
    }
}
