//! Killing all that the step has started.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal};

use crate::sys;

/// Rounds of killing while new processes keep appearing. In a pid namespace one is enough, since the kernel kills all
/// at once.
const MOST_ROUNDS: usize = 1000;

/// Kills every process of the sandbox but the guest.
///
/// As process 1 that is every process of the namespace. Elsewhere it is every descendant: the guest adopts orphans, so
/// that none gets away by forking twice or by a session of its own.
pub(crate) fn kill_tree() {
    if std::process::id() == 1 {
        sys::kill_all_as_first_process();
        return;
    }
    for _ in 0..MOST_ROUNDS {
        let living = descendants(std::process::id());
        if living.is_empty() {
            break;
        }
        for pid in living {
            _ = rustix::process::kill_process(pid, Signal::KILL);
        }
    }
}

/// Living descendants of `ancestor`, as /proc shows them.
fn descendants(ancestor: u32) -> Vec<Pid> {
    let mut children: BTreeMap<u32, Vec<(u32, bool)>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let stat = fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        if let Some((parent, dead)) = parent_and_end(&stat) {
            children.entry(parent).or_default().push((pid, dead));
        }
    }
    let mut living = Vec::new();
    let mut open = vec![ancestor];
    while let Some(parent) = open.pop() {
        for (pid, dead) in children.remove(&parent).unwrap_or_default() {
            open.push(pid);
            if !dead {
                living.extend(i32::try_from(pid).ok().and_then(Pid::from_raw));
            }
        }
    }
    living
}

/// Parent of a process and whether it is dead but not yet reaped, from /proc/PID/stat. The name in it may hold
/// anything, so fields are counted from its closing parenthesis.
fn parent_and_end(stat: &str) -> Option<(u32, bool)> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    Some((parent, matches!(state, "Z" | "X")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_name_does_not_hide_the_parent() {
        assert_eq!(parent_and_end("12 (a) S 1 (b) R 7 8 9"), Some((7, false)));
        assert_eq!(parent_and_end("12 (sh) Z 5 6"), Some((5, true)));
        assert_eq!(parent_and_end(""), None);
    }

    #[test]
    fn descendants_are_found_through_generations() {
        let mut shell = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & sleep 60"])
            .spawn()
            .expect("a shell starts");
        let living = loop {
            let living = descendants(std::process::id());
            if living.len() >= 3 {
                break living;
            }
            std::thread::yield_now();
        };
        for pid in living {
            rustix::process::kill_process(pid, Signal::KILL).expect("a child of ours");
        }
        shell.wait().expect("it was ours");
    }
}
