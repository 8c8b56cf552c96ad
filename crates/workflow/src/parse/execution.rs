//! Reads `metadata.execution` (design §5).

use std::collections::BTreeMap;

use protocol::step::{Mode, NetworkRule, Resources};

use super::reader::{At, Reader};
use super::syntax::Content;
use crate::model::Execution;

const KEYS: &[&str] =
    &["mode", "identity", "image", "network", "resources", "requires", "backend", "artifacts"];
const MODES: &[(&str, Mode)] = &[
    ("bare", Mode::Bare),
    ("sandboxed", Mode::Sandboxed),
    ("identity", Mode::Identity),
    ("full", Mode::Full),
    ("full-jit", Mode::FullJit),
    ("0", Mode::Bare),
    ("1", Mode::Sandboxed),
    ("2", Mode::Identity),
    ("3", Mode::Full),
    ("3b", Mode::FullJit),
];
/// Longest identity reference, image or label, in bytes.
const MAX_NAME_BYTES: usize = 512;

impl Reader {
    /// The `execution` of a `metadata`.
    pub(super) fn execution_of(&self, metadata: &At<'_>) -> Execution {
        let Some(fields) = self.any_fields(metadata) else { return Execution::default() };
        fields.get("execution").map_or_else(Execution::default, |at| self.execution(&at))
    }

    fn execution(&self, at: &At<'_>) -> Execution {
        let Some(fields) = self.fields(at, KEYS) else { return Execution::default() };
        let name = |key| fields.get(key).and_then(|at| self.plain_name(&at));
        Execution {
            mode: fields.get("mode").and_then(|at| self.mode(&at)),
            identity: name("identity"),
            image: name("image"),
            network: fields
                .get("network")
                .map(|at| self.items(&at).iter().filter_map(|item| self.network_rule(item)).collect()),
            resources: fields.get("resources").map(|at| self.resources(&at)),
            requires: fields.get("requires").map(|at| self.labels(&at)),
            backend: name("backend"),
            artifacts: fields
                .get("artifacts")
                .map(|at| self.items(&at).iter().filter_map(|item| self.artifact(item)).collect()),
        }
    }

    fn mode(&self, at: &At<'_>) -> Option<Mode> {
        match at.node.content {
            Content::Int(number) => {
                let found = MODES.iter().find(|(word, _)| *word == number.to_string()).map(|(_, mode)| *mode);
                if found.is_none() {
                    let help = "it is 0 bare, 1 sandboxed, 2 identity, 3 full or 3b full-jit";
                    self.error_help(at, "unknown-word", format!("there is no mode {number}"), help);
                }
                found
            }
            _ => self.word(at, MODES),
        }
    }

    fn plain_name(&self, at: &At<'_>) -> Option<String> {
        let text = self.string(at)?;
        if text.is_empty()
            || text.len() > MAX_NAME_BYTES
            || text.chars().any(|c| c.is_whitespace() || c.is_control())
        {
            let message = format!("`{}` must be 1 to {MAX_NAME_BYTES} characters without spaces", at.key());
            self.error(at, "name", message);
            return None;
        }
        if super::reader::enclosed(&text).is_some() {
            let message =
                format!("`{}` is read before the run starts, so it cannot be an expression", at.key());
            self.error(at, "name", message);
            return None;
        }
        Some(text)
    }

    fn network_rule(&self, at: &At<'_>) -> Option<NetworkRule> {
        let text = self.text(at)?;
        let rule = parse_network_rule(text);
        if rule.is_none() {
            let message = format!("`{text}` is no destination");
            self.error_help(
                at,
                "network",
                message,
                "write host:port or *.host:port, such as db.acme.internal:5432",
            );
        }
        rule
    }

    fn resources(&self, at: &At<'_>) -> Resources {
        let Some(fields) = self.fields(at, &["cpu", "memory", "disk", "processes"]) else {
            return Resources::default();
        };
        Resources {
            cpu_millis: fields.get("cpu").and_then(|at| self.cpu(&at)),
            memory_bytes: fields.get("memory").and_then(|at| self.bytes(&at)),
            disk_bytes: fields.get("disk").and_then(|at| self.bytes(&at)),
            processes: fields.get("processes").and_then(|at| self.integer_in(&at, 1, 1 << 22)),
        }
    }

    fn cpu(&self, at: &At<'_>) -> Option<u32> {
        let millis = match &at.node.content {
            Content::Int(cores) => u32::try_from(*cores).ok().and_then(|cores| cores.checked_mul(1000)),
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "bounded by the guard"
            )]
            Content::Float(cores) if (0.001..=4096.0).contains(cores) => {
                Some((cores * 1000.0).round() as u32)
            }
            Content::Text(text) => text.strip_suffix('m').and_then(|millis| millis.parse().ok()),
            _ => None,
        };
        let valid = millis.filter(|millis| (1..=4_096_000).contains(millis));
        if valid.is_none() {
            self.error_help(
                at,
                "resources",
                "`cpu` is no amount of CPU",
                "write cores as a number (0.5) or thousandths (500m)",
            );
        }
        valid
    }

    fn bytes(&self, at: &At<'_>) -> Option<u64> {
        const UNITS: [(&str, u64); 8] = [
            ("Ki", 1 << 10),
            ("Mi", 1 << 20),
            ("Gi", 1 << 30),
            ("Ti", 1 << 40),
            ("k", 1_000),
            ("M", 1_000_000),
            ("G", 1_000_000_000),
            ("T", 1_000_000_000_000),
        ];
        let bytes = match &at.node.content {
            Content::Int(bytes) => u64::try_from(*bytes).ok(),
            Content::Text(text) => UNITS
                .iter()
                .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
                .and_then(|(count, factor)| count.trim().parse::<u64>().ok()?.checked_mul(factor)),
            _ => None,
        };
        let valid = bytes.filter(|bytes| *bytes > 0);
        if valid.is_none() {
            let help = "write bytes as a number, or 256Mi, 2Gi, 500M";
            self.error_help(at, "resources", format!("`{}` is no amount of bytes", at.key()), help);
        }
        valid
    }

    fn labels(&self, at: &At<'_>) -> BTreeMap<String, String> {
        self.by_name(at, |at| self.plain_name(at))
    }

    fn artifact(&self, at: &At<'_>) -> Option<String> {
        let path = self.string(at)?;
        if path.is_empty()
            || path.starts_with('/')
            || path.split('/').any(|part| matches!(part, "" | "." | ".."))
        {
            let message = format!("`{path}` must be a path below /workspace");
            self.error_help(at, "path", message, "such as report.md, out/*.csv or out/**");
            return None;
        }
        Some(path)
    }
}

/// `host:port`, `*.host:port` or `[v6]:port`.
fn parse_network_rule(text: &str) -> Option<NetworkRule> {
    let (host, port) = text.rsplit_once(':')?;
    let port: u16 = port.parse().ok().filter(|port| *port > 0)?;
    let (subdomains, host) = host.strip_prefix("*.").map_or((false, host), |host| (true, host));
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return (!subdomains).then(|| NetworkRule { host: address.to_string(), subdomains, port });
    }
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    (host.len() <= 253 && host.split('.').all(label)).then(|| NetworkRule {
        host: host.to_ascii_lowercase(),
        subdomains,
        port,
    })
}
