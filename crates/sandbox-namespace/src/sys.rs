//! The system calls that rustix does not offer, each behind a safe function where that is possible. All `unsafe` of this
//! crate is here.

#![expect(unsafe_code, reason = "clone, exec, signals and mount attributes have no safe interface")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use rustix::process::Pid;
use tokio::io::unix::AsyncFd;

/// Registers a descriptor with the current tokio runtime.
pub(crate) fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd always gives out the one descriptor that it owns, and keeps it open until it is dropped.
    Ok(unsafe { AsyncFd::register(descriptor) }?)
}

/// Which side of a fork or clone this is.
pub(crate) enum Side<T> {
    /// The new process.
    Child,
    /// The process that made it.
    Parent(T),
}

/// Forks the worker.
///
/// If the worker has threads, the child must not wait for locks that they may hold; glibc keeps malloc usable.
pub(crate) fn fork() -> io::Result<Side<Pid>> {
    // SAFETY: the child runs the spawner alone, which takes no lock that another thread could have held at the fork:
    // malloc is handled by glibc, and the spawner neither logs nor reads the environment through std.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child),
        pid => Pid::from_raw(pid).filter(|_| pid > 0).map(Side::Parent).ok_or_else(io::Error::last_os_error),
    }
}

/// Namespaces of a sandbox.
const NAMESPACES: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS;

/// Clones the spawner into new namespaces; the parent gets the child's id and a pidfd.
pub(crate) fn clone_into_namespaces() -> io::Result<Side<(Pid, OwnedFd)>> {
    let mut pidfd: RawFd = -1;
    // SAFETY: all-zero bytes are a valid clone_args.
    let mut arguments: libc::clone_args = unsafe { std::mem::zeroed() };
    arguments.flags = (NAMESPACES | libc::CLONE_PIDFD) as u64;
    arguments.pidfd = &raw mut pidfd as u64;
    arguments.exit_signal = libc::SIGCHLD as u64;
    // SAFETY: without CLONE_VM the child has its own copy of this memory, as after fork; the spawner has one thread.
    let pid = unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size_of::<libc::clone_args>()) };
    match pid {
        0 => Ok(Side::Child),
        pid if pid > 0 => {
            let pid =
                i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel returns a process id");
            // SAFETY: the kernel has just made this descriptor for us.
            Ok(Side::Parent((pid, unsafe { OwnedFd::from_raw_fd(pidfd) })))
        }
        _ => Err(io::Error::last_os_error()),
    }
}

/// New namespaces for the spawner itself.
pub(crate) fn unshare(user: bool) -> io::Result<()> {
    let flags = libc::CLONE_NEWNS | if user { libc::CLONE_NEWUSER } else { 0 };
    // SAFETY: no CLONE_FILES or CLONE_VM is involved, so no descriptor or memory changes hands.
    check(unsafe { libc::unshare(flags) })
}

/// A cgroup namespace of its own, rooted where the process is now.
pub(crate) fn unshare_cgroup() -> io::Result<()> {
    // SAFETY: as in `unshare`.
    check(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) })
}

/// Ends the process at once.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: _exit takes any number and never returns.
    unsafe { libc::_exit(code) }
}

/// Becomes the program in `file`, with one argument and no environment; returns only if that failed.
pub(crate) fn execute(file: BorrowedFd<'_>, name: &CStr) -> io::Error {
    let arguments = [name.as_ptr(), std::ptr::null()];
    let environment = [std::ptr::null::<libc::c_char>()];
    // SAFETY: both lists end with a null pointer and live until the call returns.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            file.as_raw_fd(),
            c"".as_ptr(),
            arguments.as_ptr(),
            environment.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// Attributes to set on mounts.
#[derive(Clone, Copy)]
pub(crate) struct MountAttributes(u64);

impl MountAttributes {
    pub(crate) const READ_ONLY: Self = Self(libc::MOUNT_ATTR_RDONLY);
    pub(crate) const NO_SUID: Self = Self(libc::MOUNT_ATTR_NOSUID);
    pub(crate) const NO_DEVICES: Self = Self(libc::MOUNT_ATTR_NODEV);
    pub(crate) const NO_EXEC: Self = Self(libc::MOUNT_ATTR_NOEXEC);

    pub(crate) const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Sets attributes on a mount, and on those below it if `recursive`.
pub(crate) fn set_mount_attributes(
    mount: BorrowedFd<'_>,
    set: MountAttributes,
    recursive: bool,
) -> io::Result<()> {
    let attributes = libc::mount_attr { attr_set: set.0, attr_clr: 0, propagation: 0, userns_fd: 0 };
    let flags = libc::AT_EMPTY_PATH | if recursive { libc::AT_RECURSIVE } else { 0 };
    // SAFETY: the path and the attributes live until the call returns, the size is the attributes' own.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    check(i32::try_from(result).unwrap_or(-1))
}

/// Brings the loopback interface of the own network namespace up.
pub(crate) fn loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket_with(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?;
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    // A new interface has no flags that would have to be kept.
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads an ifreq, which lives until the call returns.
    check(unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) })
}

/// Closes all descriptors from `first` on.
pub(crate) fn close_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, 0)
}

/// Closes all descriptors but 0 to 2 and `kept`. Nothing that owns one of them may be used after.
pub(crate) fn close_all_but(kept: RawFd) -> io::Result<()> {
    if kept > 3 {
        close_range(3, kept - 1, 0)?;
    }
    close_from(kept + 1)
}

/// Marks all descriptors from `first` on to be closed by exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    close_range(first, RawFd::MAX, libc::CLOSE_RANGE_CLOEXEC)
}

fn close_range(first: RawFd, last: RawFd, flags: u32) -> io::Result<()> {
    // SAFETY: called in a new process whose other descriptors belong to nobody there: the spawner after its fork, and
    // a sandbox's first process before exec.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    check(i32::try_from(result).unwrap_or(-1))
}

/// Blocks the signals that the spawner waits for, sets all others but SIGPIPE to their default, and returns a descriptor
/// that tells of the blocked ones.
pub(crate) fn signal_descriptor() -> io::Result<OwnedFd> {
    default_signals();
    // SAFETY: ignoring needs no handler. A sandbox that is gone shows as an error of the write instead.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    let mut set = empty_signal_set();
    // SAFETY: `set` is initialised, the numbers are valid.
    unsafe {
        libc::sigaddset(&raw mut set, libc::SIGCHLD);
        libc::sigaddset(&raw mut set, libc::SIGTERM);
    }
    set_blocked(&set)?;
    // SAFETY: `set` is initialised; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &raw const set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    check(fd)?;
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets every signal to its default and unblocks it, as programs expect to be started.
pub(crate) fn restore_signals() -> io::Result<()> {
    default_signals();
    set_blocked(&empty_signal_set())
}

fn default_signals() {
    for number in 1..=libc::SIGRTMAX() {
        // SAFETY: the default action needs no handler; numbers that may not be changed are refused, which is fine.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

fn empty_signal_set() -> libc::sigset_t {
    let mut set = std::mem::MaybeUninit::uninit();
    // SAFETY: sigemptyset initialises the set.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

fn set_blocked(set: &libc::sigset_t) -> io::Result<()> {
    // SAFETY: `set` is initialised; the old set is not asked for.
    check(unsafe { libc::sigprocmask(libc::SIG_SETMASK, set, std::ptr::null_mut()) })
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
