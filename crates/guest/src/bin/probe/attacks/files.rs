//! Files of the host, and writing where nothing may be written.

use std::os::unix::fs::symlink;

use super::told;
use crate::attempt::{attempt, can_write};

/// Descriptors that might be open on the host's files.
const DESCRIPTORS: i32 = 40;

/// `PROBE_CANARY` is the path of a file of the host, `PROBE_SECRET` is what it holds; `PROBE_FILES` are further paths of
/// the host with the digest of each, `path=digest,…`.
pub(super) fn of_the_host(guest: i32) {
    let (canary, secret) = (told("PROBE_CANARY"), told("PROBE_SECRET"));
    if secret.is_empty() {
        return;
    }
    let climb = format!("/tmp/{}", "../".repeat(20));
    let mut paths = vec![canary.clone(), format!("{climb}{canary}")];
    for process in ["self".to_owned(), guest.to_string()] {
        paths.extend(["root", "cwd"].map(|link| format!("/proc/{process}/{link}{canary}")));
    }
    paths.extend(
        ["/.old_root", "/oldroot", "/.pivot_root", "/stage", "/host", "/rootfs", "/mnt"]
            .map(|at| format!("{at}{canary}")),
    );
    for number in 3..DESCRIPTORS {
        paths.push(format!("/proc/self/fd/{number}{canary}"));
        paths.push(format!("/proc/self/fd/{number}/../../..{canary}"));
    }
    let reads = |path: &str| {
        let content = std::fs::read(path).ok()?;
        let found = content.windows(secret.len()).any(|window| window == secret.as_bytes());
        found.then(|| path.to_owned())
    };
    for (number, path) in paths.iter().enumerate() {
        attempt(&format!("read {path}"), || reads(path));
        let link = format!("/tmp/probe-link-{number}");
        drop(symlink(path, &link));
        attempt(&format!("read {path} by a link"), || reads(&link));
        drop(std::fs::remove_file(link));
    }
    attempt("read by a hard link", || {
        std::fs::hard_link(&canary, "/tmp/probe-hard").ok()?;
        reads("/tmp/probe-hard")
    });
    for known in told("PROBE_FILES").split(',') {
        let Some((path, digest)) = known.rsplit_once('=') else { continue };
        attempt(&format!("read the host's {path}"), || {
            let content = std::fs::read(path).ok()?;
            (crate::plain::digest(&content) == digest).then(|| "it is the same file".to_owned())
        });
    }
}

/// Folders and files that are not the step's own.
pub(super) fn outside(_: i32) {
    for folder in [
        "", "/usr", "/usr/bin", "/bin", "/lib", "/etc", "/etc/ssl", "/dev", "/dev/pts", "/proc", "/run",
        "/home", "/var", "/root", "/opt", "/sys",
    ] {
        attempt(&format!("write in {folder}/"), || {
            std::fs::write(format!("{folder}/planted"), "x").ok().map(|()| "written".to_owned())
        });
    }
    for path in
        ["/etc/passwd", "/etc/resolv.conf", "/etc/hosts", "/etc/hostname", "/usr/bin/env", "/bin/busybox"]
    {
        can_write(path);
        attempt(&format!("remove {path}"), || std::fs::remove_file(path).ok().map(|()| "removed".to_owned()));
        attempt(&format!("replace {path}"), || {
            std::fs::write("/tmp/probe-other", "x").ok()?;
            std::fs::rename("/tmp/probe-other", path).ok().map(|()| "replaced".to_owned())
        });
    }
    // Files that were mounted one by one, the guest's own program among them.
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        let is_file = std::fs::metadata(point).is_ok_and(|about| about.is_file());
        if is_file && !point.starts_with("/workspace") && !point.starts_with("/tmp") {
            can_write(point);
        }
    }
}
