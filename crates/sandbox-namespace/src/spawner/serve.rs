//! The spawner's own life: set up once, then make and destroy sandboxes as told until the worker is gone.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, WaitOptions};

use super::blank::{Blank, Press, kill};
use super::maps::Mapping;
use super::prepare::{Prepared, close_all_but, prepare};
use crate::cgroup::{Cgroup, Cgroups};
use crate::layers;
use crate::sys;
use crate::wire::{self, Limits, Reply, Request};

/// Blanks that are kept ready.
const BLANKS: usize = 4;
/// How long removing a cgroup that the kernel still holds is put off.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
/// The longest the first sandbox may take.
const REHEARSAL: Timespec = Timespec { tv_sec: 20, tv_nsec: 0 };
/// No waiting: there is work to do ahead of need.
const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

struct Spawner {
    socket: OwnedFd,
    signals: OwnedFd,
    worker: Option<Pid>,
    press: Press,
    mapping: Mapping,
    cgroups: Cgroups,
    blanks: VecDeque<Blank>,
    /// A blank died of itself: make none ahead until one has served, so that a broken machine is not kept busy.
    blanks_fail: bool,
    /// All first processes that have not been reaped.
    processes: HashMap<Pid, Process>,
    sandboxes: HashMap<u64, Sandbox>,
    unremoved: Vec<Cgroup>,
    made: u64,
}

/// The first process of a blank or a sandbox.
struct Process {
    cgroup: Option<Cgroup>,
    /// `None` for a blank.
    sandbox: Option<u64>,
}

struct Sandbox {
    pidfd: OwnedFd,
    dead: bool,
    /// The worker's side waits for its end.
    discard: bool,
}

/// The whole life of the forked process.
pub(super) fn run(socket: OwnedFd, guest: &[u8], paths: &[PathBuf], images: Option<&Path>) -> ! {
    // A panic must not unwind into the worker's code, of which this process is a copy.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        if let Some(mut spawner) = Spawner::set_up(socket, guest, paths, images) {
            spawner.serve();
            spawner.end();
        }
    }));
    sys::exit(if ended.is_ok() { 0 } else { 101 })
}

impl Spawner {
    fn set_up(socket: OwnedFd, guest: &[u8], paths: &[PathBuf], images: Option<&Path>) -> Option<Self> {
        let worker = rustix::process::getppid();
        close_all_but(&socket).ok()?;
        let Prepared { signals, press, mapping, cgroups, layers } = match prepare(guest, paths, images) {
            Ok(prepared) => prepared,
            Err(failed) => {
                let reason = format!("failed to {}: {}", failed.doing, failed.error);
                let message = Reply::Unavailable { reason, remedy: layers::remedy(&failed.error) };
                let _ = wire::send(socket.as_fd(), &message, &[]);
                return None;
            }
        };
        let mut spawner = Self {
            socket,
            signals,
            worker,
            press,
            mapping,
            cgroups,
            blanks: VecDeque::new(),
            blanks_fail: false,
            processes: HashMap::new(),
            sandboxes: HashMap::new(),
            unremoved: Vec::new(),
            made: 0,
        };
        let reply = match spawner.rehearse() {
            Ok(()) => Reply::Ready { layers },
            Err(error) => Reply::Unavailable { reason: error.to_string(), remedy: layers::remedy(&error) },
        };
        spawner.reply(&reply).then_some(())?;
        matches!(reply, Reply::Ready { .. }).then_some(spawner)
    }

    /// Makes one sandbox up to its guest's first words and destroys it: what this machine does not allow shows here.
    fn rehearse(&mut self) -> io::Result<()> {
        let blank = self.make_blank()?;
        let limits = Limits { cpu_millis: 1000, memory_bytes: 64 << 20, disk_bytes: 1 << 20, processes: 8 };
        if let Some(cgroup) = self.processes.get(&blank.pid).and_then(|process| process.cgroup.as_ref()) {
            self.cgroups.limit(cgroup, &limits)?;
        }
        // If it is dead, its last words say why.
        let _ = blank.order(&limits, &[]);
        let spoken = blank.first_words(REHEARSAL);
        blank.kill();
        let _ = rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(blank.pid), WaitOptions::empty()));
        let cgroup = self.processes.remove(&blank.pid).and_then(|process| process.cgroup);
        if let Some(Err(held)) = cgroup.map(|cgroup| self.cgroups.release(cgroup)) {
            self.unremoved.push(held);
        }
        spoken
    }

    /// Returns when the worker is gone.
    fn serve(&mut self) {
        loop {
            let make_ahead = self.blanks.len() < BLANKS && !self.blanks_fail;
            let timeout =
                if make_ahead { Some(AT_ONCE) } else { (!self.unremoved.is_empty()).then_some(RETRY) };
            let mut events =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            let ready = poll(&mut events, timeout.as_ref()).unwrap_or(0);
            let [asked, signalled] = events.map(|event| !event.revents().is_empty());
            if asked && !self.answer() {
                return;
            }
            if signalled {
                if self.drain_signals() && self.worker_is_gone() {
                    return;
                }
                self.reap();
            }
            if ready == 0 {
                self.unremoved.retain(|cgroup| !self.cgroups.remove(cgroup));
            }
            if ready == 0 && make_ahead {
                match self.make_blank() {
                    Ok(blank) => self.blanks.push_back(blank),
                    Err(_) => self.blanks_fail = true,
                }
            }
        }
    }

    /// Answers one request; `false` where the worker is gone.
    fn answer(&mut self) -> bool {
        match wire::receive::<Request>(self.socket.as_fd()) {
            Ok(Some((Request::Create { id, limits, layers }, _))) => match self.create(id, limits, &layers) {
                Ok(()) => true,
                Err(error) => self.reply(&Reply::Failed { id, message: error.to_string() }),
            },
            Ok(Some((Request::Discard { id }, _))) => match self.sandboxes.get_mut(&id) {
                Some(sandbox) if !sandbox.dead => {
                    kill(&sandbox.pidfd);
                    sandbox.discard = true;
                    true
                }
                Some(_) | None => {
                    self.sandboxes.remove(&id);
                    self.reply(&Reply::Discarded { id })
                }
            },
            Ok(None) => false,
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn reply(&self, reply: &Reply) -> bool {
        wire::send(self.socket.as_fd(), reply, &[]).is_ok()
    }

    fn create(&mut self, id: u64, limits: Limits, layers: &[String]) -> io::Result<()> {
        let blank = loop {
            let (blank, was_ready) = match self.blanks.pop_front() {
                Some(blank) => (blank, true),
                None => (self.make_blank()?, false),
            };
            let process =
                self.processes.get_mut(&blank.pid).expect("a blank's process is listed until it is reaped");
            let limited =
                process.cgroup.as_ref().map_or(Ok(()), |cgroup| self.cgroups.limit(cgroup, &limits));
            match limited.and_then(|()| blank.order(&limits, layers)) {
                Ok(()) => {
                    process.sandbox = Some(id);
                    self.blanks_fail = false;
                    break blank;
                }
                // It died of itself; another may live.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe && was_ready => {
                    self.blanks_fail = true
                }
                Err(error) => {
                    blank.kill();
                    return Err(error);
                }
            }
        };
        let told = wire::send(self.socket.as_fd(), &Reply::Created { id }, &blank.descriptors());
        if told.is_err() {
            blank.kill();
        }
        self.sandboxes.insert(id, Sandbox { pidfd: blank.pidfd, dead: false, discard: false });
        told
    }

    fn make_blank(&mut self) -> io::Result<Blank> {
        self.made += 1;
        let cgroup = self.cgroups.take()?;
        let made = self.press.make(self.mapping.of_sandbox(self.made), &self.cgroups, cgroup.as_ref());
        match made {
            Ok(blank) => {
                self.processes.insert(blank.pid, Process { cgroup, sandbox: None });
                Ok(blank)
            }
            Err(error) => {
                self.unremoved.extend(cgroup);
                Err(error)
            }
        }
    }

    /// Reaps what has died. Where the first process of a pid namespace is gone there is no other: the kernel saw to it.
    fn reap(&mut self) {
        while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(Process { cgroup, sandbox }) = self.processes.remove(&pid) else { continue };
            if let Some(Err(held)) = cgroup.map(|cgroup| self.cgroups.release(cgroup)) {
                self.unremoved.push(held);
            }
            let Some(id) = sandbox else {
                self.blanks.retain(|blank| blank.pid != pid);
                self.blanks_fail = true;
                continue;
            };
            let Some(sandbox) = self.sandboxes.get_mut(&id) else { continue };
            sandbox.dead = true;
            if sandbox.discard {
                self.sandboxes.remove(&id);
                self.reply(&Reply::Discarded { id });
            }
        }
    }

    /// Empties the signal descriptor; whether there was anything but dead children.
    fn drain_signals(&self) -> bool {
        let mut buffer = [0; 1024];
        let mut asked_to_end = false;
        while let Ok(bytes @ 1..) = rustix::io::read(&self.signals, &mut buffer) {
            // The kernel's signalfd_siginfo is 128 bytes and begins with the signal's number.
            asked_to_end |= buffer[..bytes]
                .chunks(128)
                .filter_map(|info| info.first_chunk::<4>())
                .any(|number| u32::from_ne_bytes(*number) == Signal::TERM.as_raw().unsigned_abs());
        }
        asked_to_end
    }

    /// The signal also comes where only the thread that forked us has ended.
    fn worker_is_gone(&self) -> bool {
        rustix::process::getppid() != self.worker
    }

    /// Kills and removes everything.
    fn end(&mut self) {
        self.blanks.iter().for_each(Blank::kill);
        self.sandboxes.values().filter(|sandbox| !sandbox.dead).for_each(|sandbox| kill(&sandbox.pidfd));
        while !self.processes.is_empty() {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, _))) => {
                    self.unremoved.extend(self.processes.remove(&pid).and_then(|process| process.cgroup));
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.cgroups.clear();
        // What the kernel still holds is swept by the next worker's spawner.
        self.unremoved.retain(|cgroup| !self.cgroups.remove(cgroup));
    }
}
