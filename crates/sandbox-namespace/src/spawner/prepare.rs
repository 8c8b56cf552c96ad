//! What the spawner does once, right after it was forked.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

use protocol::frame::LayerReport;
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags};
use rustix::process::Signal;

use super::blank::Press;
use super::maps::Mapping;
use super::{landlock, root};
use crate::cgroup::Cgroups;
use crate::layers;
use crate::sys;

/// What the spawner works with.
pub(super) struct Prepared {
    pub(super) signals: OwnedFd,
    pub(super) press: Press,
    pub(super) mapping: Mapping,
    pub(super) cgroups: Cgroups,
    pub(super) layers: Vec<LayerReport>,
}

/// What could not be done, for the operator.
pub(super) struct Failed {
    pub(super) doing: &'static str,
    pub(super) error: io::Error,
}

/// Leaves everything of the worker behind and builds what sandboxes share.
pub(super) fn prepare(guest: &[u8], paths: &[PathBuf], images: Option<&Path>) -> Result<Prepared, Failed> {
    let failed = |doing| move |error| Failed { doing, error };
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(io::Error::from)
        .map_err(failed("ask to die with the worker"))?;
    // An interrupt on the worker's terminal is the worker's to handle.
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"sagewai-spawner");
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let signals = sys::signal_descriptor().map_err(failed("receive signals"))?;
    let guest = sealed(guest).map_err(failed("seal the guest"))?;
    // Before the host's file system is out of reach.
    let (cgroups, cgroup) = Cgroups::find();
    let is_host_root = rustix::process::geteuid().is_root() && sys::unshare(false).is_ok();
    if !is_host_root {
        own_user_namespace().map_err(failed("make a user namespace"))?;
    }
    let mapping = Mapping::of_this_process(is_host_root);
    root::build(paths, images).map_err(failed("build the root of sandboxes"))?;
    let landlock = landlock::is_available();
    let layers = layers::made(landlock, cgroup);
    Ok(Prepared { signals, press: Press { guest, landlock }, mapping, cgroups, layers })
}

/// A user namespace in which the worker's user is root, so that the spawner may mount.
fn own_user_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    sys::unshare(true)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    std::fs::write("/proc/self/gid_map", format!("0 {gid} 1"))
}

/// Leaves nothing of the worker's open but `socket`.
pub(super) fn close_all_but(socket: &OwnedFd) -> io::Result<()> {
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    sys::close_all_but(socket.as_raw_fd())
}

/// The guest in memory that nobody can change any more, whatever descriptor they get hold of.
fn sealed(program: &[u8]) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    // Kernels since 6.3 want to be told that it is a program.
    let file = rustix::fs::memfd_create("guest", flags | MemfdFlags::EXEC)
        .or_else(|_| rustix::fs::memfd_create("guest", flags))?;
    let mut rest = program;
    while !rest.is_empty() {
        let written = rustix::io::write(&file, rest)?;
        rest = &rest[written..];
    }
    let seals = SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_can_change_the_sealed_guest() {
        let file = sealed(b"program").expect("sealed");
        assert!(rustix::io::pwrite(&file, b"x", 0).is_err(), "written");
        assert!(rustix::fs::ftruncate(&file, 0).is_err(), "shortened");
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let again = std::fs::OpenOptions::new().write(true).open(path);
        assert!(again.and_then(|mut file| io::Write::write_all(&mut file, b"x")).is_err(), "written anew");
    }
}
