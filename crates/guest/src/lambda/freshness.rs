//! Whether this execution environment has served before. AWS keeps one for further invocations, with its /tmp and what
//! still runs in it; a step must find nothing of another, so whatever is not as in a new one ends the attempt.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The folder that an execution environment keeps.
const KEPT: &str = "/tmp";
/// Says that a step was here.
const MARKER: &str = "/tmp/.sagewai-served";
/// Longest name that is told.
const MOST_SHOWN_CHARS: usize = 60;

/// Takes the environment for one step. An error says what is left of an earlier one.
pub(super) fn claim() -> Result<(), String> {
    untouched(Path::new(KEPT), rustix::process::getuid().as_raw())?;
    alone(Path::new("/proc"))?;
    mark(OFlags::EXCL).map_err(|error| format!("{MARKER} cannot be made: {error}"))
}

/// Marks the environment again, after the step: it could remove the mark, since it is the guest's user too.
pub(super) fn mark_served() {
    _ = mark(OFlags::empty());
}

fn mark(how: OFlags) -> rustix::io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC | how;
    rustix::fs::open(MARKER, flags, Mode::RUSR).map(drop)
}

/// Nothing in the folder is of this user: only steps and their guest have written as this user.
fn untouched(folder: &Path, user: u32) -> Result<(), String> {
    let entries =
        fs::read_dir(folder).map_err(|error| format!("{} cannot be read: {error}", folder.display()))?;
    for entry in entries.flatten() {
        let owner = entry.path().symlink_metadata().map(|metadata| metadata.uid());
        if owner.ok().is_none_or(|owner| owner == user) {
            let name: String = entry.file_name().to_string_lossy().chars().take(MOST_SHOWN_CHARS).collect();
            return Err(format!("{} holds {name:?}", folder.display()));
        }
    }
    Ok(())
}

/// No process of this user runs but this one and those that started it.
fn alone(proc: &Path) -> Result<(), String> {
    let user = rustix::process::getuid().as_raw();
    let above = ancestors(proc, std::process::id());
    for entry in fs::read_dir(proc).map_err(|error| format!("processes cannot be seen: {error}"))?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(status) = fs::read_to_string(entry.path().join("status")) else { continue };
        let its_user = field(&status, "Uid:").and_then(|value| value.parse().ok());
        if its_user == Some(user) && !above.contains(&pid) {
            let name: String =
                field(&status, "Name:").unwrap_or("?").chars().take(MOST_SHOWN_CHARS).collect();
            return Err(format!("process {pid} ({name:?}) runs as the function's user"));
        }
    }
    Ok(())
}

/// The process and all above it.
fn ancestors(proc: &Path, process: u32) -> Vec<u32> {
    let mut above = vec![1];
    let mut next = Some(process);
    while let Some(pid) = next.filter(|pid| *pid > 0 && !above[1..].contains(pid)) {
        above.push(pid);
        let status = fs::read_to_string(proc.join(pid.to_string()).join("status")).unwrap_or_default();
        next = field(&status, "PPid:").and_then(|value| value.parse().ok());
    }
    above
}

/// First word of a field of /proc/PID/status.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_the_own_user_are_left_overs_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let user = rustix::process::getuid().as_raw();
        assert_eq!(untouched(folder.path(), user), Ok(()));
        fs::write(folder.path().join(".hidden"), "").unwrap();
        assert!(untouched(folder.path(), user).unwrap_err().contains(".hidden"));
        assert_eq!(untouched(folder.path(), user + 1), Ok(()));
        fs::remove_file(folder.path().join(".hidden")).unwrap();
        std::os::unix::fs::symlink("/nowhere", folder.path().join("dangling")).unwrap();
        assert!(untouched(folder.path(), user).is_err(), "a link that leads nowhere is a left-over too");
    }

    #[test]
    fn a_process_beside_this_one_is_a_left_over() {
        let proc = tempfile::tempdir().unwrap();
        let own = std::process::id();
        let user = rustix::process::getuid().as_raw();
        let add = |pid: u32, parent: u32, user: u32| {
            fs::create_dir(proc.path().join(pid.to_string())).unwrap();
            let status = format!("Name:\tp{pid}\nPPid:\t{parent}\nUid:\t{user}\t{user}\t{user}\t{user}\n");
            fs::write(proc.path().join(pid.to_string()).join("status"), status).unwrap();
        };
        add(1, 0, user);
        if own != 1 {
            add(own, 1, user);
        }
        add(own + 1, 1, user + 1);
        assert_eq!(alone(proc.path()), Ok(()), "ancestors, and processes of others");
        add(own + 2, 1, user);
        assert!(alone(proc.path()).unwrap_err().contains(&(own + 2).to_string()));
    }
}
