//! Blanks: processes in namespaces and a cgroup of their own that wait to be told their limits.
//!
//! Cloning and entering a cgroup are most of the work of making a sandbox, and the part whose time varies most, so the
//! spawner keeps a few blanks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};

use super::child::{Blueprint, Order, become_guest};
use super::maps::IdMap;
use crate::cgroup::{Cgroup, Cgroups};
use crate::sys::{self, Side};
use crate::wire::Limits;

/// A process that waits for its order, and the worker's ends of its channel.
pub(super) struct Blank {
    pub(super) pid: Pid,
    pub(super) pidfd: OwnedFd,
    orders: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

/// What all blanks of a spawner have in common.
pub(super) struct Press {
    /// The guest's program, sealed.
    pub(super) guest: OwnedFd,
    pub(super) landlock: bool,
}

impl Press {
    /// Makes a blank; the caller reaps it whatever becomes of it.
    pub(super) fn make(&self, map: IdMap, cgroups: &Cgroups, cgroup: Option<&Cgroup>) -> io::Result<Blank> {
        let entrances = cgroup.map_or_else(|| Ok(Vec::new()), |cgroup| cgroups.entrances(cgroup))?;
        let (its_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, its_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, its_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let (its_orders, orders) = pipe_with(PipeFlags::CLOEXEC)?;
        let (pid, pidfd) = match sys::clone_into_namespaces()? {
            Side::Parent(made) => made,
            Side::Child => {
                // Otherwise it would not notice that the spawner is gone.
                drop(orders);
                become_guest(Blueprint {
                    orders: its_orders,
                    entrances,
                    guest: self.guest.as_fd(),
                    stdin: its_stdin,
                    stdout: its_stdout,
                    stderr: its_stderr,
                    map,
                    landlock: self.landlock,
                })
            }
        };
        let blank = Blank { pid, pidfd, orders, stdin, stdout, stderr };
        // If this fails the blank ends, and says so to whoever gets it.
        if map.write(pid).and_then(|()| Ok(rustix::io::write(&blank.orders, &[1])?)).is_err() {
            blank.kill();
        }
        Ok(blank)
    }
}

impl Blank {
    /// Turns the blank into a sandbox.
    pub(super) fn order(&self, limits: &Limits) -> io::Result<()> {
        rustix::io::write(&self.orders, &Order { disk_bytes: limits.disk_bytes }.to_bytes())?;
        Ok(())
    }

    /// What the worker's side gets.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 4] {
        [self.pidfd.as_fd(), self.stdin.as_fd(), self.stdout.as_fd(), self.stderr.as_fd()]
    }

    pub(super) fn kill(&self) {
        kill(&self.pidfd);
    }
}

/// Kills a process that may be dead already.
pub(super) fn kill(pidfd: &OwnedFd) {
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}
