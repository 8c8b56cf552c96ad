//! From the guest's process to the step's: what a new process does to itself, in order, before it becomes the program.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use protocol::frame::{FailureKind, StepLimits};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::pipe::PipeFlags;
use rustix::process::{Pid, Signal};
use rustix::pty::OpenptFlags;

use super::environment::Environment;
use crate::failure::Failure;
use crate::harden::{self, StepUser};
use crate::seccomp;
use crate::sys::{self, Fork, Resource, Vector};

/// First descriptor that the step does not get.
const FIRST_CLOSED: i32 = 3;
/// A core dump would hold the step's secrets. 1 is the one limit that also stops dumps into a program of the host's (as
/// core_pattern may say), for which the kernel does not look at 0.
const NO_CORE_BYTES: u64 = 1;
/// Files of the step are readable for all, as in any session.
const UMASK: Mode = Mode::WGRP.union(Mode::WOTH);

/// What to start.
pub(super) struct Launch<'a> {
    pub(super) argv: &'a [String],
    pub(super) environment: &'a Environment,
    pub(super) directory: &'a str,
    pub(super) limits: StepLimits,
    pub(super) terminal: bool,
    pub(super) user: Option<StepUser>,
    /// Whether it gets no internet sockets.
    pub(super) offline: bool,
}

/// The step's process, and the guest's ends of its streams, which do not block.
pub(super) struct Spawned {
    pub(super) pid: Pid,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    /// Absent with a terminal.
    pub(super) stderr: Option<OwnedFd>,
}

/// The step's ends of its streams.
struct Standard {
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

/// Where a new process failed; its number travels over the report pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Stage {
    Streams,
    Limits,
    User,
    Capabilities,
    Network,
    Directory,
    Descriptors,
    Program,
}

const STAGES: [Stage; 8] = [
    Stage::Streams,
    Stage::Limits,
    Stage::User,
    Stage::Capabilities,
    Stage::Network,
    Stage::Directory,
    Stage::Descriptors,
    Stage::Program,
];

/// Starts the step. Returns once the program runs, or with the reason why it does not.
pub(super) fn spawn(launch: &Launch<'_>) -> Result<Spawned, Failure> {
    let isolation =
        |what: &str, error: io::Error| Failure::new(FailureKind::Isolation, format!("{what}: {error}"));
    let Some(program) = launch.argv.first() else {
        return Err(Failure::new(FailureKind::NotFound, "the step has no program"));
    };
    let arguments: Vec<CString> = launch
        .argv
        .iter()
        .map(|argument| CString::new(argument.as_str()))
        .collect::<Result<_, _>>()
        .map_err(|_| Failure::new(FailureKind::NotFound, "an argument of the step holds a zero byte"))?;
    let candidates = launch.environment.candidates(program);
    let argument_vector = Vector::new(arguments.iter().map(CString::as_c_str));
    let environment_vector = launch.environment.vector();

    let (standard, stdin, stdout, stderr) =
        if launch.terminal { terminal(launch.user) } else { pipes(launch.user) }
            .map_err(|error| isolation("the step's streams cannot be made", error))?;
    let (report, reporting) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)
        .map_err(|error| isolation("a pipe cannot be made", error.into()))?;

    match sys::fork().map_err(|error| isolation("no process can be made", error))? {
        Fork::Child => {
            let (stage, error) =
                become_step(launch, standard, &candidates, &argument_vector, &environment_vector);
            let errno = error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes();
            _ = rustix::io::write(&reporting, &[&[stage as u8][..], &errno].concat());
            sys::exit_child()
        }
        Fork::Parent(pid) => {
            drop((reporting, standard));
            match await_start(&report) {
                None => Ok(Spawned { pid, stdin, stdout, stderr }),
                Some((stage, error)) => Err(stage_failure(stage, &error, launch)),
            }
        }
    }
}

/// Runs in the new process. Returns only if it could not become the program.
fn become_step(
    launch: &Launch<'_>,
    standard: Standard,
    candidates: &[CString],
    arguments: &Vector<'_>,
    environment: &Vector<'_>,
) -> (Stage, io::Error) {
    let prepared = at(Stage::Streams, take_streams(&standard, launch.terminal))
        .and_then(|()| at(Stage::Limits, limit(launch.limits)))
        .and_then(|()| at(Stage::User, launch.user.map_or(Ok(()), become_user)))
        .and_then(|()| at(Stage::Capabilities, harden::drop_capabilities()))
        .and_then(|()| at(Stage::Network, if launch.offline { seccomp::refuse_internet() } else { Ok(()) }))
        .and_then(|()| {
            at(Stage::Directory, rustix::process::chdir(launch.directory).map_err(io::Error::from))
        })
        .and_then(|()| at(Stage::Descriptors, sys::close_on_exec_from(FIRST_CLOSED)));
    if let Err(failed) = prepared {
        return failed;
    }
    (Stage::Program, execute_first(candidates, arguments, environment))
}

fn at(stage: Stage, result: io::Result<()>) -> Result<(), (Stage, io::Error)> {
    result.map_err(|error| (stage, error))
}

fn take_streams(standard: &Standard, terminal: bool) -> io::Result<()> {
    rustix::process::setsid()?;
    // Where the guest is not the first process of a namespace, the step does not outlive it.
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::umask(UMASK);
    sys::unblock_signals();
    rustix::stdio::dup2_stdin(&standard.stdin)?;
    rustix::stdio::dup2_stdout(&standard.stdout)?;
    rustix::stdio::dup2_stderr(&standard.stderr)?;
    if terminal {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
    }
    Ok(())
}

fn limit(limits: StepLimits) -> io::Result<()> {
    sys::limit(Resource::Core, NO_CORE_BYTES)?;
    for (resource, value) in [
        (Resource::PrivateMemory, limits.memory_bytes),
        (Resource::Processes, u64::from(limits.processes)),
        (Resource::FileSize, limits.file_bytes),
        (Resource::Descriptors, u64::from(limits.descriptors)),
    ] {
        if value > 0 {
            sys::limit(resource, value)?;
        }
    }
    Ok(())
}

fn become_user(user: StepUser) -> io::Result<()> {
    // Without newgidmap a user namespace forbids it, and then there are no groups that would mean anything.
    match rustix::thread::set_thread_groups(&[]) {
        Ok(()) | Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    rustix::thread::set_thread_res_gid(user.gid, user.gid, user.gid)?;
    rustix::thread::set_thread_res_uid(user.uid, user.uid, user.uid)?;
    // The change of user has reset it.
    Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?)
}

/// Tries the candidates in order. What is there but may not be executed is a better answer than what is not there.
fn execute_first(candidates: &[CString], arguments: &Vector<'_>, environment: &Vector<'_>) -> io::Error {
    let mut answer = io::Error::from_raw_os_error(libc::ENOENT);
    for candidate in candidates {
        let error = sys::execute(candidate, arguments, environment);
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ENOTDIR) => {}
            Some(libc::EACCES) => answer = error,
            _ => return error,
        }
    }
    answer
}

/// What the new process reported; `None` if it has become the program, which closes the pipe.
fn await_start(report: &OwnedFd) -> Option<(Stage, io::Error)> {
    let mut bytes = [0; 5];
    let read = loop {
        match rustix::io::read(report, &mut bytes) {
            Err(Errno::INTR) => {}
            read => break read.unwrap_or(0),
        }
    };
    let [stage, errno @ ..] = bytes;
    (read == bytes.len()).then(|| {
        let stage = STAGES.get(usize::from(stage)).copied().unwrap_or(Stage::Program);
        (stage, io::Error::from_raw_os_error(i32::from_le_bytes(errno)))
    })
}

fn stage_failure(stage: Stage, error: &io::Error, launch: &Launch<'_>) -> Failure {
    let program = launch.argv.first().map_or("", String::as_str);
    match stage {
        Stage::Streams => {
            Failure::new(FailureKind::Isolation, format!("the step's streams cannot be set up: {error}"))
        }
        Stage::Limits => {
            Failure::new(FailureKind::Isolation, format!("the step's limits cannot be set: {error}"))
        }
        Stage::User => {
            Failure::new(FailureKind::Isolation, format!("the step's user cannot be taken: {error}"))
        }
        Stage::Capabilities => Failure::new(
            FailureKind::Isolation,
            format!("the step's capabilities cannot be dropped: {error}"),
        ),
        Stage::Network => {
            Failure::new(FailureKind::Isolation, format!("the step's network cannot be closed: {error}"))
        }
        Stage::Descriptors => {
            Failure::new(FailureKind::Isolation, format!("the guest's descriptors cannot be closed: {error}"))
        }
        Stage::Directory => Failure::new(
            FailureKind::Workspace,
            format!("the working directory `{}` cannot be entered: {error}", launch.directory),
        ),
        Stage::Program => {
            Failure::new(FailureKind::NotFound, format!("`{program}` cannot be started: {error}"))
        }
    }
}

type Streams = (Standard, OwnedFd, OwnedFd, Option<OwnedFd>);

fn pipes(user: Option<StepUser>) -> io::Result<Streams> {
    let pipe = || rustix::pipe::pipe_with(PipeFlags::CLOEXEC);
    let ((stdin, sink), (out_source, stdout), (err_source, stderr)) = (pipe()?, pipe()?, pipe()?);
    for end in [&sink, &out_source, &err_source] {
        set_nonblocking(end)?;
    }
    for end in [&stdin, &stdout, &stderr] {
        give(end, user);
    }
    Ok((Standard { stdin, stdout, stderr }, sink, out_source, Some(err_source)))
}

fn terminal(user: Option<StepUser>) -> io::Result<Streams> {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let controller = rustix::pty::openpt(flags)?;
    rustix::pty::unlockpt(&controller)?;
    let peer = rustix::pty::ioctl_tiocgptpeer(&controller, flags)?;
    give(&peer, user);
    set_nonblocking(&controller)?;
    let sink = rustix::io::fcntl_dupfd_cloexec(&controller, FIRST_CLOSED)?;
    let duplicate = || rustix::io::fcntl_dupfd_cloexec(&peer, FIRST_CLOSED);
    let standard = Standard { stdin: duplicate()?, stdout: duplicate()?, stderr: duplicate()? };
    Ok((standard, sink, controller, None))
}

/// Makes the step's user the owner, so that it can open /dev/stdout and /dev/stdin by name. Where that is refused, it
/// still has the open descriptors.
fn give(end: &OwnedFd, user: Option<StepUser>) {
    if let Some(user) = user {
        _ = rustix::fs::fchown(end, Some(user.uid), Some(user.gid));
    }
}

fn set_nonblocking(end: impl AsFd) -> io::Result<()> {
    let flags = rustix::fs::fcntl_getfl(&end)?;
    Ok(rustix::fs::fcntl_setfl(&end, flags | OFlags::NONBLOCK)?)
}
