//! Where this process may make cgroups: below its own, in version 1 or 2.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use protocol::frame::{Layer, LayerReport};
use rustix::fs::{CWD, Mode, OFlags};

use super::limits::Hierarchy;
use super::names::{Owner, takes_new};

/// What an operator can do about absent cgroups.
const REMEDY: &str = "run the worker as a systemd service of its own with `Delegate=yes`, or as root";
/// Controllers that the limits need.
const CONTROLLERS: [(&str, Hierarchy); 3] =
    [("memory", Hierarchy::Memory), ("pids", Hierarchy::Processes), ("cpu", Hierarchy::Cpu)];

/// A mounted hierarchy, as /proc/self/mountinfo has it.
struct Mounted {
    root: String,
    point: PathBuf,
    version: u8,
    controllers: Vec<String>,
}

/// Folders in which sandboxes get theirs, and the report on the layer.
pub(super) fn find(owner: &Owner) -> (Vec<(Hierarchy, OwnedFd)>, LayerReport) {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let mounted: Vec<Mounted> = mountinfo.lines().filter_map(parse_mount).collect();
    let report = |note: String| LayerReport { layer: Layer::Cgroup, enforced: note.is_empty(), note };
    match find_unified(&mounted, &own, owner) {
        Ok(folder) => return (vec![(Hierarchy::Unified, folder)], report(String::new())),
        Err(Unified::Absent) => {}
        Err(Unified::Unusable(why)) if !mounted.iter().any(|mount| mount.version == 1) => {
            return (Vec::new(), report(format!("{why}: {REMEDY}")));
        }
        Err(Unified::Unusable(_)) => {}
    }
    let mut found = Vec::new();
    let mut missing = Vec::new();
    for (controller, hierarchy) in CONTROLLERS {
        match find_v1(&mounted, &own, controller, owner) {
            Ok(folder) => found.push((hierarchy, folder)),
            Err(why) => missing.push(format!("{controller} ({why})")),
        }
    }
    let note = match missing.as_slice() {
        [] => String::new(),
        missing => format!("no cgroups for {}: {REMEDY}", missing.join(", ")),
    };
    (found, report(note))
}

fn find_v1(mounted: &[Mounted], own: &str, controller: &str, owner: &Owner) -> Result<OwnedFd, String> {
    let mount = mounted
        .iter()
        .find(|mount| mount.version == 1 && mount.controllers.iter().any(|name| name == controller))
        .ok_or("not mounted")?;
    let path = own_path(own, controller).ok_or("this process has none")?;
    let folder = open(&folder_of(mount, path)).map_err(|error| error.to_string())?;
    takes_new(&folder, owner).map_err(|error| error.to_string())?;
    Ok(folder)
}

enum Unified {
    Absent,
    Unusable(String),
}

fn find_unified(mounted: &[Mounted], own: &str, owner: &Owner) -> Result<OwnedFd, Unified> {
    let mount = mounted.iter().find(|mount| mount.version == 2).ok_or(Unified::Absent)?;
    let folder = folder_of(mount, own_path(own, "").ok_or(Unified::Absent)?);
    let offered = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    let lacking: Vec<&str> = CONTROLLERS
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !offered.split_whitespace().any(|offered| offered == *name))
        .collect();
    if !lacking.is_empty() {
        return Err(Unified::Unusable(format!("no cgroup controllers {}", lacking.join(", "))));
    }
    let unusable = |error: std::io::Error| Unified::Unusable(format!("cgroups cannot be made: {error}"));
    let enable = || fs::write(folder.join("cgroup.subtree_control"), "+memory +pids +cpu");
    if enable().is_err() {
        // A cgroup that passes controllers on may hold no processes: step down into a leaf first.
        step_down(&folder).and_then(|()| enable()).map_err(unusable)?;
    }
    let folder = open(&folder).map_err(unusable)?;
    takes_new(&folder, owner).map_err(|error| unusable(error.into()))?;
    Ok(folder)
}

/// Moves the worker and this process into a leaf of the worker's cgroup.
fn step_down(folder: &Path) -> std::io::Result<()> {
    let leaf = folder.join("sagewai-worker");
    fs::create_dir_all(&leaf)?;
    let parent = rustix::process::getppid().map_or(0, |pid| pid.as_raw_nonzero().get());
    for pid in [parent.to_string(), std::process::id().to_string()] {
        fs::write(leaf.join("cgroup.procs"), pid)?;
    }
    Ok(())
}

fn open(path: &Path) -> std::io::Result<OwnedFd> {
    let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(CWD, path, flags, Mode::empty())?)
}

/// The folder of a cgroup's path; a mount may show a subtree only.
fn folder_of(mount: &Mounted, path: &str) -> PathBuf {
    let below = path.strip_prefix(mount.root.trim_end_matches('/')).unwrap_or(path);
    mount.point.join(below.trim_start_matches('/'))
}

/// The path of this process's cgroup for a controller, from /proc/self/cgroup; `""` is version 2.
fn own_path<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (number, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let hit = match controller {
            "" => number == "0",
            name => controllers.split(',').any(|one| one == name),
        };
        hit.then_some(path)
    })
}

fn parse_mount(line: &str) -> Option<Mounted> {
    let (head, tail) = line.split_once(" - ")?;
    let mut tail = tail.split(' ');
    let version = match tail.next()? {
        "cgroup" => 1,
        "cgroup2" => 2,
        _ => return None,
    };
    let controllers = tail.nth(1)?.split(',').map(str::to_owned).collect();
    let mut head = head.split(' ');
    let root = head.nth(3)?.to_owned();
    Some(Mounted { root, point: PathBuf::from(head.next()?), version, controllers })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_and_own_paths_are_read() {
        let line = "36 31 0:35 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory";
        let mount = parse_mount(line).expect("a cgroup");
        assert_eq!(mount.version, 1);
        let own = "5:cpu,cpuacct:/a\n4:memory:/b/c\n0::/d\n";
        let path = own_path(own, "memory").expect("listed");
        assert_eq!(folder_of(&mount, path), Path::new("/sys/fs/cgroup/memory/b/c"));
        assert_eq!(own_path(own, "cpu"), Some("/a"));
        assert_eq!(own_path(own, ""), Some("/d"));
        assert!(parse_mount("22 27 0:21 / /proc rw - proc proc rw").is_none());
    }

    #[test]
    fn a_mount_may_show_a_subtree_only() {
        let line = "36 31 0:35 /docker/x /sys/fs/cgroup rw shared:1 - cgroup2 cgroup2 rw";
        let mount = parse_mount(line).expect("a cgroup");
        assert_eq!(folder_of(&mount, "/docker/x/y"), Path::new("/sys/fs/cgroup/y"));
        assert_eq!(folder_of(&mount, "/docker/x"), Path::new("/sys/fs/cgroup"));
    }
}
