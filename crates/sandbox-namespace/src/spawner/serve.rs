//! The spawner's own life: set up once, then make and destroy sandboxes as told until the worker is gone.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, Mode, SealFlags};
use rustix::process::{Pid, Signal, WaitOptions};

use super::child::{Blueprint, become_guest};
use super::maps::Mapping;
use super::{landlock, root};
use crate::cgroup::{Cgroup, Cgroups};
use crate::layers;
use crate::sys::{self, Side};
use crate::wire::{self, Limits, Reply, Request};

/// How long removing a cgroup that the kernel still holds is put off.
const RETRY: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

struct Spawner {
    socket: OwnedFd,
    signals: OwnedFd,
    worker: Option<Pid>,
    guest: OwnedFd,
    mapping: Mapping,
    cgroups: Cgroups,
    landlock: bool,
    sandboxes: HashMap<u64, Sandbox>,
    numbers: HashMap<Pid, u64>,
    made: u64,
}

struct Sandbox {
    pidfd: OwnedFd,
    cgroup: Option<Cgroup>,
    dead: bool,
    discard: bool,
}

/// The whole life of the forked process.
pub(super) fn run(socket: OwnedFd, guest: &[u8], paths: &[PathBuf]) -> ! {
    // A panic must not unwind into the worker's code, of which this process is a copy.
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let worker = rustix::process::getppid();
        match Spawner::set_up(socket, guest, paths, worker) {
            Some(mut spawner) => {
                spawner.serve();
                spawner.end();
            }
            None => sys::exit(1),
        }
    }));
    sys::exit(if ended.is_ok() { 0 } else { 101 })
}

impl Spawner {
    fn set_up(socket: OwnedFd, guest: &[u8], paths: &[PathBuf], worker: Option<Pid>) -> Option<Self> {
        let socket = take_descriptor(socket).ok()?;
        let own_ids = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        let prepared = prepare(guest, paths, own_ids);
        let (signals, guest, mapping, cgroups, cgroup_report) = match prepared {
            Ok(prepared) => prepared,
            Err((reason, error)) => {
                let message = Reply::Unavailable {
                    reason: format!("{reason}: {error}"),
                    remedy: layers::remedy(&error),
                };
                let _ = wire::send(socket.as_fd(), &message, &[]);
                return None;
            }
        };
        let landlock = landlock::is_available();
        let ready = Reply::Ready { layers: layers::made(landlock, cgroup_report) };
        wire::send(socket.as_fd(), &ready, &[]).ok()?;
        Some(Self {
            socket,
            signals,
            worker,
            guest,
            mapping,
            cgroups,
            landlock,
            sandboxes: HashMap::new(),
            numbers: HashMap::new(),
            made: 0,
        })
    }

    fn serve(&mut self) {
        let mut unremoved: Vec<Cgroup> = Vec::new();
        loop {
            let idle_work = self.cgroups.wants_more();
            let retry = (!unremoved.is_empty()).then_some(RETRY);
            let timeout = if idle_work { Some(Timespec { tv_sec: 0, tv_nsec: 0 }) } else { retry };
            let mut events =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.signals, PollFlags::IN)];
            let ready = poll(&mut events, timeout.as_ref()).unwrap_or(0);
            let (asked, signalled) = (!events[0].revents().is_empty(), !events[1].revents().is_empty());
            if asked && !self.answer() {
                return;
            }
            if signalled && self.drain_signals() && self.worker_is_gone() {
                return;
            }
            if signalled || asked {
                self.reap(&mut unremoved);
            }
            unremoved.retain(|cgroup| !self.cgroups.remove(cgroup));
            if ready == 0 && idle_work && self.cgroups.prepare().is_err() {
                // Said when a sandbox needs one; until then there is nothing to be done.
                std::thread::yield_now();
            }
        }
    }

    /// Answers one request; `false` where the worker is gone.
    fn answer(&mut self) -> bool {
        match wire::receive::<Request>(self.socket.as_fd()) {
            Ok(Some((Request::Create { id, limits }, _))) => match self.create(id, limits) {
                Ok(()) => true,
                Err(error) => self.reply(&Reply::Failed { id, message: error.to_string() }),
            },
            Ok(Some((Request::Discard { id }, _))) => {
                let known = self.sandboxes.get_mut(&id).map(|sandbox| {
                    sandbox.discard = true;
                    kill(&sandbox.pidfd);
                    sandbox.dead
                });
                match known {
                    Some(false) => true,
                    Some(true) | None => {
                        self.sandboxes.remove(&id);
                        self.reply(&Reply::Discarded { id })
                    }
                }
            }
            Ok(None) => false,
            Err(error) => error.kind() == io::ErrorKind::Interrupted,
        }
    }

    fn reply(&self, reply: &Reply) -> bool {
        wire::send(self.socket.as_fd(), reply, &[]).is_ok()
    }

    fn create(&mut self, id: u64, limits: Limits) -> io::Result<()> {
        self.made += 1;
        let map = self.mapping.of_sandbox(self.made);
        let cgroup = self.cgroups.take(&limits)?;
        let (its_stdin, stdin) = pipe()?;
        let (stdout, its_stdout) = pipe()?;
        let (stderr, its_stderr) = pipe()?;
        let (go, say_go) = pipe()?;
        let (pid, pidfd) = match sys::clone_into_namespaces() {
            Err(error) => {
                self.forget(cgroup);
                return Err(error);
            }
            Ok(Side::Child) => {
                drop(say_go);
                become_guest(Blueprint {
                    go,
                    guest: self.guest.as_fd(),
                    stdin: its_stdin,
                    stdout: its_stdout,
                    stderr: its_stderr,
                    limits,
                    map,
                    landlock: self.landlock,
                    cgroup: cgroup.is_some(),
                })
            }
            Ok(Side::Parent(made)) => made,
        };
        let placed = cgroup.as_ref().map_or(Ok(()), |cgroup| self.cgroups.place(cgroup, pid));
        let released =
            placed.and_then(|()| map.write(pid)).and_then(|()| Ok(rustix::io::write(&say_go, &[1])?));
        let descriptors = [pidfd.as_fd(), stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        let told =
            released.and_then(|_| wire::send(self.socket.as_fd(), &Reply::Created { id }, &descriptors));
        if told.is_err() {
            kill(&pidfd);
        }
        // Reaped as any other; where it could not be told of, it is discarded already.
        let sandbox = Sandbox { pidfd, cgroup, dead: false, discard: told.is_err() };
        self.sandboxes.insert(id, sandbox);
        self.numbers.insert(pid, id);
        told
    }

    fn forget(&self, cgroup: Option<Cgroup>) {
        if let Some(cgroup) = cgroup {
            self.cgroups.remove(&cgroup);
        }
    }

    /// Reaps what has died. A sandbox whose first process is gone has no other: the kernel has seen to that.
    fn reap(&mut self, unremoved: &mut Vec<Cgroup>) {
        while let Ok(Some((pid, _))) = rustix::process::wait(WaitOptions::NOHANG) {
            let Some(id) = self.numbers.remove(&pid) else { continue };
            let Some(sandbox) = self.sandboxes.get_mut(&id) else { continue };
            sandbox.dead = true;
            let discard = sandbox.discard;
            if let Some(cgroup) = sandbox.cgroup.take()
                && !self.cgroups.remove(&cgroup)
            {
                unremoved.push(cgroup);
            }
            if discard {
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
        for sandbox in self.sandboxes.values().filter(|sandbox| !sandbox.dead) {
            kill(&sandbox.pidfd);
        }
        let mut unremoved = Vec::new();
        while !self.numbers.is_empty() {
            match rustix::process::wait(WaitOptions::empty()) {
                Ok(Some((pid, _))) => {
                    let id = self.numbers.remove(&pid);
                    unremoved.extend(
                        id.and_then(|id| self.sandboxes.remove(&id)).and_then(|sandbox| sandbox.cgroup),
                    );
                }
                Ok(None) | Err(rustix::io::Errno::INTR) => {}
                Err(_) => break,
            }
        }
        self.cgroups.clear();
        // What the kernel still holds is swept by the next worker's spawner.
        unremoved.retain(|cgroup| !self.cgroups.remove(cgroup));
    }
}

type Prepared = (OwnedFd, OwnedFd, Mapping, Cgroups, protocol::frame::LayerReport);

/// Everything that is done once; what failed is named for the operator.
fn prepare(
    guest: &[u8],
    paths: &[PathBuf],
    own_ids: (u32, u32),
) -> Result<Prepared, (&'static str, io::Error)> {
    let during = |what| move |error| (what, error);
    rustix::process::set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| ("failed to ask to die with the worker", error.into()))?;
    let _ = rustix::process::setsid();
    let _ = rustix::thread::set_name(c"sagewai-spawner");
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let signals = sys::signal_descriptor().map_err(during("failed to receive signals"))?;
    let guest = sealed(guest).map_err(during("failed to seal the guest"))?;
    // Before the host's file system is out of reach.
    let (cgroups, report) = Cgroups::find();
    let is_host_root = own_ids.0 == 0 && sys::unshare(false).is_ok();
    if !is_host_root {
        sys::unshare(true).map_err(during("failed to make a user namespace"))?;
        map_self(own_ids).map_err(during("failed to map the worker's user"))?;
    }
    let mapping = Mapping::of_this_process(is_host_root);
    root::build(paths).map_err(during("failed to build the root of sandboxes"))?;
    Ok((signals, guest, mapping, cgroups, report))
}

/// Maps the own ids to root in the own, new user namespace.
fn map_self(own_ids: (u32, u32)) -> io::Result<()> {
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("0 {} 1", own_ids.0))?;
    std::fs::write("/proc/self/gid_map", format!("0 {} 1", own_ids.1))
}

/// The socket as descriptor 3, and nothing else of the worker's open.
fn take_descriptor(socket: OwnedFd) -> io::Result<OwnedFd> {
    use std::os::fd::AsRawFd;
    let null =
        rustix::fs::open("/dev/null", rustix::fs::OFlags::RDWR | rustix::fs::OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    drop(null);
    sys::close_all_but(socket.as_raw_fd())?;
    Ok(socket)
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

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?)
}

fn kill(pidfd: impl AsFd) {
    let pidfd: BorrowedFd<'_> = pidfd.as_fd();
    // It may be dead already.
    let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
}
