//! Blanks: processes in namespaces and a cgroup of their own that wait to be told their limits.
//!
//! Cloning and entering a cgroup are most of the work of making a sandbox, and the part whose time varies most, so the
//! spawner keeps a few blanks.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, Signal};

use super::child::{Blueprint, Order, become_guest};
use super::maps::IdMap;
use crate::cgroup::{Cgroup, Cgroups};
use crate::sys::{self, Side};
use crate::wire::Limits;

/// Bytes of what a failed set-up says that are read.
const MAX_LAST_WORDS_BYTES: usize = 1000;

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
    pub(super) fn order(&self, limits: &Limits, layers: &[String]) -> io::Result<()> {
        let order = Order { disk_bytes: limits.disk_bytes, layers: layers.join(":") };
        // Fits into the pipe, so it is written at once.
        rustix::io::write(&self.orders, &order.to_bytes()?)?;
        Ok(())
    }

    /// Waits for the guest to say anything; an error is what the set-up said instead.
    pub(super) fn first_words(&self, limit: Timespec) -> io::Result<()> {
        let mut events = [PollFd::new(&self.stdout, PollFlags::IN)];
        let spoken = rustix::io::retry_on_intr(|| poll(&mut events, Some(&limit)))? > 0
            && rustix::io::read(&self.stdout, &mut [0; 1])? == 1;
        if spoken {
            return Ok(());
        }
        self.kill();
        let mut words = [0; MAX_LAST_WORDS_BYTES];
        let bytes = rustix::io::read(&self.stderr, &mut words)?;
        let words = String::from_utf8_lossy(&words[..bytes]).trim().to_owned();
        let denied = words.contains("os error 1)") || words.contains("os error 13)");
        let kind = if denied { io::ErrorKind::PermissionDenied } else { io::ErrorKind::Other };
        Err(io::Error::new(kind, words))
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
