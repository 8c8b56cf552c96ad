//! Names of cgroups, which say whose they are; and removing those of the dead.

use std::fs;
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{AtFlags, Dir, Mode, OFlags};
use rustix::process::{Pid, Signal};

/// What all names begin with.
const PREFIX: &str = "sagewai";
/// Times that a dead owner's cgroup is emptied and its removal tried.
const SWEEP_ATTEMPTS: usize = 100;

/// A process, told apart from later ones with the same id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pid: u32,
    /// Clock ticks after boot.
    started: u64,
}

impl Owner {
    pub(super) fn this_process() -> Self {
        let pid = std::process::id();
        Self { pid, started: start_time(pid).unwrap_or(0) }
    }

    /// The name of this owner's cgroup with this number.
    pub(super) fn name(&self, number: u64) -> String {
        format!("{PREFIX}-{}-{}-{number}", self.pid, self.started)
    }

    /// The owner of a cgroup of that name; `None` where it is not ours.
    fn of(name: &str) -> Option<Self> {
        let mut parts = name.split('-');
        (parts.next()? == PREFIX).then_some(())?;
        let owner = Self { pid: parts.next()?.parse().ok()?, started: parts.next()?.parse().ok()? };
        parts.next()?.parse::<u64>().ok()?;
        parts.next().is_none().then_some(owner)
    }

    fn is_alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }
}

/// Field 22 of /proc/PID/stat. The name in it may hold anything, so fields are counted from its closing parenthesis.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = stat.rsplit_once(')')?.1;
    let mut fields = fields.split_whitespace();
    // A dead process that nobody has reaped owns nothing any more.
    (!matches!(fields.next()?, "Z" | "X")).then_some(())?;
    fields.nth(18)?.parse().ok()
}

/// Removes the cgroups in `folder` whose owners are dead, with what may still run in them.
pub(super) fn sweep(folder: BorrowedFd<'_>) {
    let Ok(entries) = Dir::read_from(folder) else { return };
    for entry in entries.flatten() {
        let Ok(name) = entry.file_name().to_str() else { continue };
        if Owner::of(name).is_some_and(|owner| !owner.is_alive()) {
            for _ in 0..SWEEP_ATTEMPTS {
                if rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR).is_ok() {
                    break;
                }
                kill_all(folder, name);
            }
        }
    }
}

fn kill_all(folder: BorrowedFd<'_>, name: &str) {
    let path = format!("{name}/cgroup.procs");
    let Ok(file) = rustix::fs::openat(folder, path.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    else {
        return;
    };
    let mut text = String::new();
    let _ = std::io::Read::read_to_string(&mut fs::File::from(file), &mut text);
    for pid in text.lines().filter_map(|line| line.parse().ok()).filter_map(Pid::from_raw) {
        let _ = rustix::process::kill_process(pid, Signal::KILL);
    }
    std::thread::yield_now();
}

/// Whether a folder of cgroups takes new ones; tried, because permissions do not tell.
pub(super) fn takes_new(folder: impl AsFd, owner: &Owner) -> rustix::io::Result<()> {
    let name = owner.name(0);
    rustix::fs::mkdirat(&folder, name.as_str(), Mode::from_raw_mode(0o755))?;
    rustix::fs::unlinkat(&folder, name.as_str(), AtFlags::REMOVEDIR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_whose_they_are() {
        let owner = Owner::this_process();
        assert!(owner.started > 0);
        assert_eq!(Owner::of(&owner.name(7)), Some(owner.clone()));
        assert!(owner.is_alive());
        assert!(!Owner { started: owner.started + 1, ..owner }.is_alive());
        for foreign in
            ["docker", "sagewai", "sagewai-1", "sagewai-1-2", "sagewai-1-2-x", "sagewai-1-2-3-4", "x-1-2-3"]
        {
            assert_eq!(Owner::of(foreign), None, "{foreign}");
        }
    }
}
