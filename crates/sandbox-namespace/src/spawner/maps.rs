//! Which users of the host the users of a sandbox are.

use std::fs;
use std::io;

use rustix::process::Pid;

/// First host uid and gid of the ranges for sandboxes. Neither systemd, nor distributions, nor container tools give out
/// ids above this one (systemd's "Users, Groups, UIDs and GIDs" lists it as unused).
const FIRST_ID: u32 = 1_879_048_192;
/// Ids of one sandbox.
const IDS: u32 = 65_536;
/// Ranges; sandboxes that live at once have different ones as long as there are fewer of them.
const RANGES: u64 = 4096;

/// How ids are mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdMap {
    /// A whole range of its own; nobody on the host has these ids.
    Range {
        /// The host's id of the sandbox's root.
        first: u32,
    },
    /// The worker's own user and group, as root inside.
    Own,
}

/// What the spawner may map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mapping {
    /// Any id of the host.
    Any,
    /// The worker's own ids.
    Own,
}

impl Mapping {
    /// What this process may map, once it is in its own mount namespace and knows whether it kept the host's root.
    pub(super) fn of_this_process(is_host_root: bool) -> Self {
        let whole = |path| {
            fs::read_to_string(path).is_ok_and(|map| map.split_whitespace().eq(["0", "0", "4294967295"]))
        };
        if is_host_root && whole("/proc/self/uid_map") && whole("/proc/self/gid_map") {
            Self::Any
        } else {
            Self::Own
        }
    }

    /// The map of the sandbox with this number.
    pub(super) fn of_sandbox(self, number: u64) -> IdMap {
        match self {
            Self::Any => {
                let range = u32::try_from(number % RANGES).expect("there are few ranges");
                IdMap::Range { first: FIRST_ID + range * IDS }
            }
            Self::Own => IdMap::Own,
        }
    }
}

impl IdMap {
    /// Id of the step inside.
    pub(super) fn step(self) -> u32 {
        match self {
            Self::Range { .. } => sandbox::STEP_ID,
            Self::Own => 0,
        }
    }

    /// Whether groups other than the own one exist inside.
    pub(super) fn has_groups(self) -> bool {
        matches!(self, Self::Range { .. })
    }

    /// Writes the maps of a new process's user namespace.
    pub(super) fn write(self, pid: Pid) -> io::Result<()> {
        let (uid, gid) = match self {
            Self::Range { first } => (format!("0 {first} {IDS}"), format!("0 {first} {IDS}")),
            Self::Own => {
                write(pid, "setgroups", "deny")?;
                // The spawner is root in its own user namespace, where it is the worker's user.
                ("0 0 1".to_owned(), "0 0 1".to_owned())
            }
        };
        write(pid, "uid_map", &uid)?;
        write(pid, "gid_map", &gid)
    }
}

fn write(pid: Pid, file: &str, text: &str) -> io::Result<()> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    fs::write(&path, text).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_do_not_overlap_and_stay_below_the_signed_limit() {
        let first = |number| match Mapping::Any.of_sandbox(number) {
            IdMap::Range { first } => first,
            IdMap::Own => panic!("a range was asked for"),
        };
        assert_eq!(first(1) - first(0), IDS);
        assert_eq!(first(RANGES), first(0));
        assert!(u64::from(first(RANGES - 1)) + u64::from(IDS) <= 1 << 31);
    }
}
