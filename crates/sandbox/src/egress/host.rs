//! Host names and the allow-list: one spelling per name, and what has another is refused.

use std::fmt;
use std::net::IpAddr;

use protocol::step::NetworkRule;

/// Bytes of a host name, at most (RFC 1035, without the trailing dot).
const MAX_NAME_BYTES: usize = 253;
/// Bytes of one label, at most.
const MAX_LABEL_BYTES: usize = 63;

/// A host that can be matched and resolved: there is one spelling of each.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// Lower-case ASCII labels, no trailing dot, not an address in any spelling.
    Name(String),
    /// An address literal.
    Address(IpAddr),
}

/// Why text is no host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Empty, or longer than DNS allows.
    #[error("a host name has 1 to 253 bytes, each label 1 to 63")]
    Length,
    /// Something other than letters, digits, `-`, `_` and dots.
    #[error(
        "a host name is made of ASCII letters, digits, `-` and `_`; write international names as `xn--…`"
    )]
    Character,
    /// A number where a name should end: an unusual spelling of an address, which resolvers read differently.
    #[error("a host name does not end in a number; write addresses in their usual form")]
    Numeric,
}

impl Host {
    /// Reads a host as a client or a document spells it. One trailing dot and upper case are accepted.
    pub fn parse(text: &str) -> Result<Self, HostError> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() || name.len() > MAX_NAME_BYTES {
            return Err(HostError::Length);
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL_BYTES {
                return Err(HostError::Length);
            }
            let plain = label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
            if !plain || label.starts_with('-') || label.ends_with('-') {
                return Err(HostError::Character);
            }
        }
        let last = name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
        let hexadecimal =
            last.strip_prefix("0x").is_some_and(|hex| hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if hexadecimal || last.bytes().all(|b| b.is_ascii_digit()) {
            return Err(HostError::Numeric);
        }
        Ok(Self::Name(name.to_ascii_lowercase()))
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(name) => f.write_str(name),
            Host::Address(address) => address.fmt(f),
        }
    }
}

/// Whether the allow-list names `host` and `port`. A rule that is malformed allows nothing.
pub fn allows(rules: &[NetworkRule], host: &Host, port: u16) -> bool {
    port != 0 && rules.iter().any(|rule| rule.port == port && matches(rule, host))
}

fn matches(rule: &NetworkRule, host: &Host) -> bool {
    match (Host::parse(&rule.host), host) {
        (Ok(Host::Name(listed)), Host::Name(name)) if rule.subdomains => name
            .strip_suffix(&listed)
            .and_then(|below| below.strip_suffix('.'))
            .is_some_and(|label| !label.is_empty()),
        (Ok(listed), host) => !rule.subdomains && listed == *host,
        (Err(_), _) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> NetworkRule {
        let (host, port) = text.rsplit_once(':').expect("host:port");
        let subdomains = host.starts_with("*.");
        let host = host.trim_start_matches("*.").to_owned();
        NetworkRule { host, subdomains, port: port.parse().expect("a port") }
    }

    /// As the worker does it: text that is no host is refused before anything is matched.
    fn reaches(rules: &[&str], host: &str, port: u16) -> bool {
        let rules: Vec<NetworkRule> = rules.iter().map(|text| rule(text)).collect();
        Host::parse(host).is_ok_and(|host| allows(&rules, &host, port))
    }

    #[test]
    fn a_listed_name_in_its_usual_spellings() {
        for name in ["db.acme.com", "DB.Acme.COM", "db.acme.com."] {
            assert!(reaches(&["db.acme.com:5432"], name, 5432), "{name}");
        }
        assert!(reaches(&["*.acme.com:443"], "a.acme.com", 443));
        assert!(reaches(&["*.acme.com:443"], "a.b.ACME.com.", 443));
        assert!(reaches(&["xn--bcher-kva.example:443"], "xn--bcher-kva.example", 443));
        assert!(reaches(&["203.0.113.7:443"], "203.0.113.7", 443));
        assert!(reaches(&["::1:443"], "0:0:0:0:0:0:0:1", 443));
    }

    #[test]
    fn everything_that_only_looks_like_a_listed_name() {
        let long = format!("{}.db.acme.com", "a".repeat(250));
        for name in [
            "db.acme.com\0",
            "db.acme.com\0.evil.com",
            "db.acme.com%00",
            "db.acme.com\r\nHost: x",
            "db.acme.com..",
            ".db.acme.com",
            "user@db.acme.com",
            "db.acme.com@evil.com",
            "db.acme.com/",
            "db.acme.com:5432",
            "evil-db.acme.com",
            "xdb.acme.com",
            "db.acme.com.evil.com",
            "db.acme.co",
            "db.acme.comm",
            "db..acme.com",
            " db.acme.com",
            "db.acme.com ",
            "db。acme.com",
            "dB.acme.com\u{200b}",
            "ⅆb.acme.com",
            "db.аcme.com",
            "[::1]",
            "",
            ".",
            "*",
            "*.acme.com",
            &long,
        ] {
            assert!(!reaches(&["db.acme.com:5432", "*.acme.com:443"], name, 5432), "{name:?}");
        }
        assert!(!reaches(&["db.acme.com:5432"], "db.acme.com", 5433));
        assert!(!reaches(&["db.acme.com:0"], "db.acme.com", 0));
    }

    #[test]
    fn a_wildcard_is_neither_its_apex_nor_a_suffix_of_a_label() {
        for name in ["acme.com", "ACME.com.", "evilacme.com", ".acme.com", "a.acme.com.evil"] {
            assert!(!reaches(&["*.acme.com:443"], name, 443), "{name}");
        }
    }

    #[test]
    fn addresses_in_unusual_spellings_are_no_hosts() {
        for text in [
            "127.1",
            "2130706433",
            "0177.0.0.1",
            "0x7f.0.0.1",
            "0x7f000001",
            "127.0.0.0x1",
            "127.0.0.01",
            "1.2.3.4.5",
            "0x",
            "a.0x7f",
            "::ffff:7f00:1%lo",
            "fe80::1%eth0",
        ] {
            let parsed = Host::parse(text);
            assert!(parsed.is_err(), "{text} became {parsed:?}");
        }
    }

    #[test]
    fn empty_and_malformed_policies_allow_nothing() {
        assert!(!reaches(&[], "db.acme.com", 443));
        for host in ["", ".", "*", "a b", "a\0b", "*.com", "%", "ü.example"] {
            let rules = [
                NetworkRule { host: host.to_owned(), subdomains: false, port: 443 },
                NetworkRule { host: host.to_owned(), subdomains: true, port: 443 },
            ];
            for name in ["a.com", "com", "x", "a b", "ü.example"] {
                assert!(!Host::parse(name).is_ok_and(|name| allows(&rules, &name, 443)), "{host:?} {name:?}");
            }
        }
    }

    /// Random edits of a listed name: what is still allowed must be the same name in another case or with one dot more.
    #[test]
    fn no_edit_of_a_listed_name_reaches_another_name() {
        let listed = "db.acme.com";
        let alphabet: Vec<char> = "abdcme.-_@%:/\\*\0\r\n 0x1ACMü。".chars().collect();
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut random = |below: usize| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 33) as usize % below
        };
        for _ in 0..200_000 {
            let mut text: Vec<char> = listed.chars().collect();
            for _ in 0..=random(3) {
                let at = random(text.len() + 1);
                let c = alphabet[random(alphabet.len())];
                match random(3) {
                    0 => text.insert(at, c),
                    1 if at < text.len() => text[at] = c,
                    _ if at < text.len() => drop(text.remove(at)),
                    _ => {}
                }
            }
            let text: String = text.into_iter().collect();
            if reaches(&["db.acme.com:5432"], &text, 5432) {
                let plain = text.strip_suffix('.').unwrap_or(&text).to_ascii_lowercase();
                assert_eq!(plain, listed, "{text:?}");
            }
        }
    }
}
