//! The few system calls that rustix does not offer, each behind a safe function. All `unsafe` of the guest is here.

#![expect(unsafe_code, reason = "fork, exec, seccomp and signals have no safe interface")]

use std::ffi::CStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::process::Pid;

/// Which side of a fork this is.
pub(crate) enum Fork {
    /// The new process.
    Child,
    /// The process that forked.
    Parent(Pid),
}

/// How a child ended and what it used, with the children that it had waited for.
#[derive(Clone, Copy)]
pub(crate) struct Reaped {
    pub(crate) pid: Pid,
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) max_rss_bytes: u64,
    pub(crate) cpu: Duration,
}

/// Forks. The guest has one thread, so the child may do whatever the parent may.
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: the guest never starts a thread, so no lock is held by a thread that the child lacks.
    match unsafe { libc::fork() } {
        0 => Ok(Fork::Child),
        pid if pid > 0 => Pid::from_raw(pid).map(Fork::Parent).ok_or_else(io::Error::last_os_error),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Pointers to C strings with the null that ends them, as execve takes them.
pub(crate) struct Vector<'a> {
    pointers: Vec<*const libc::c_char>,
    strings: std::marker::PhantomData<&'a CStr>,
}

impl<'a> Vector<'a> {
    /// The pointers to `strings`.
    pub(crate) fn new(strings: impl Iterator<Item = &'a CStr>) -> Self {
        let mut pointers: Vec<_> = strings.map(CStr::as_ptr).collect();
        pointers.push(std::ptr::null());
        Vector { pointers, strings: std::marker::PhantomData }
    }
}

/// Becomes `program`; returns only if that failed.
pub(crate) fn execute(program: &CStr, arguments: &Vector<'_>, environment: &Vector<'_>) -> io::Error {
    // SAFETY: both vectors point to C strings that live as long as they do, and end with a null pointer.
    unsafe {
        libc::execve(program.as_ptr(), arguments.pointers.as_ptr(), environment.pointers.as_ptr());
    }
    io::Error::last_os_error()
}

/// Ends the process without running anything of the parent's.
pub(crate) fn exit_child() -> ! {
    // SAFETY: _exit takes any number and never returns.
    unsafe { libc::_exit(127) }
}

/// What there is to reap.
pub(crate) enum Reap {
    /// A child that had ended.
    Ended(Reaped),
    /// Children live, none has ended.
    Living,
    /// There are no children.
    Childless,
}

/// Reaps one child that has ended, if there is one.
pub(crate) fn reap() -> Reap {
    let mut status = 0;
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to locals of the right types.
    let pid = unsafe { libc::wait4(-1, &mut status, libc::WNOHANG, &mut usage) };
    let pid = match pid {
        -1 => return Reap::Childless,
        pid => match Pid::from_raw(pid) {
            Some(pid) => pid,
            None => return Reap::Living,
        },
    };
    let time = |value: libc::timeval| {
        Duration::from_secs(value.tv_sec.unsigned_abs()) + Duration::from_micros(value.tv_usec.unsigned_abs())
    };
    Reap::Ended(Reaped {
        pid,
        code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
        signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
        max_rss_bytes: usage.ru_maxrss.unsigned_abs() * 1024,
        cpu: time(usage.ru_utime) + time(usage.ru_stime),
    })
}

/// Kills every process of the pid namespace but this one, which must be its first: anywhere else -1 would mean every
/// process of the machine, so the call is not made.
pub(crate) fn kill_all_as_first_process() {
    if std::process::id() == 1 {
        // SAFETY: kill takes any numbers; -1 does not reach process 1 itself.
        unsafe {
            libc::kill(-1, libc::SIGKILL);
        }
    }
}

/// Sends a signal by number to a process group.
pub(crate) fn signal_group(group: Pid, number: i32) -> io::Result<()> {
    // SAFETY: kill takes any numbers; the group is positive, so only that group is reached.
    match unsafe { libc::kill(-group.as_raw_nonzero().get(), number) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A descriptor that is readable when a child has ended or the guest was asked to terminate; both signals are blocked.
pub(crate) fn signal_descriptor() -> io::Result<OwnedFd> {
    // SAFETY: the set is initialised by sigemptyset before it is read; signalfd's result is owned by nobody else.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigaddset(&mut set, libc::SIGCHLD);
        libc::sigaddset(&mut set, libc::SIGTERM);
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// Whether bytes read from a signal descriptor are an order to end. As the first process of a pid namespace the guest
/// obeys only who is outside of it, whose process id the kernel then gives as 0: a step must not end its own guest.
pub(crate) fn orders_end(info: &[u8]) -> bool {
    let is_first = std::process::id() == 1;
    info.chunks_exact(size_of::<libc::signalfd_siginfo>()).any(|record| {
        let field = |at: usize| record[at..].first_chunk().copied().map(u32::from_ne_bytes);
        let number = field(std::mem::offset_of!(libc::signalfd_siginfo, ssi_signo));
        let sender = field(std::mem::offset_of!(libc::signalfd_siginfo, ssi_pid));
        number == Some(libc::SIGTERM.unsigned_abs()) && (!is_first || sender == Some(0))
    })
}

/// Gives each signal its default action, whatever the guest was started with. The guest itself goes on ignoring SIGPIPE,
/// as programs of Rust do, until [`unblock_signals`].
pub(crate) fn reset_signals() {
    for number in (1..=64).filter(|number| *number != libc::SIGPIPE) {
        // SAFETY: SIG_DFL is a valid action for every signal that takes one; for others the call fails.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
}

/// Unblocks all signals and gives SIGPIPE its default action too, as a new program expects.
pub(crate) fn unblock_signals() {
    // SAFETY: the set is initialised by sigemptyset; SIG_DFL is a valid action.
    unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
}

/// Marks all descriptors from `first` on close-on-exec.
pub(crate) fn close_on_exec_from(first: RawFd) -> io::Result<()> {
    let first = libc::c_uint::try_from(first).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: close_range with CLOEXEC changes flags of descriptors only.
    let done = unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Makes `program` the seccomp filter of this process and all that it starts.
pub(crate) fn install_seccomp_filter(program: &[libc::sock_filter]) -> io::Result<()> {
    let length = u16::try_from(program.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
    let program = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut() };
    // SAFETY: the program outlives the call and the kernel only reads it.
    let done =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A limit of a process.
#[derive(Clone, Copy)]
pub(crate) enum Resource {
    /// Private memory that a process may write to; what it merely reserves, as node does by the terabyte, is free.
    PrivateMemory,
    Processes,
    FileSize,
    Descriptors,
    Core,
}

/// Sets the soft and the hard limit to `value`, or to the hard limit that is there if that is lower.
pub(crate) fn limit(resource: Resource, value: u64) -> io::Result<()> {
    let resource = match resource {
        Resource::PrivateMemory => libc::RLIMIT_DATA,
        Resource::Processes => libc::RLIMIT_NPROC,
        Resource::FileSize => libc::RLIMIT_FSIZE,
        Resource::Descriptors => libc::RLIMIT_NOFILE,
        Resource::Core => libc::RLIMIT_CORE,
    };
    let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: the pointer is to a local of the right type.
    if unsafe { libc::getrlimit(resource, &mut limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    limits.rlim_max = value.min(limits.rlim_max);
    limits.rlim_cur = limits.rlim_max;
    // SAFETY: as above.
    if unsafe { libc::setrlimit(resource, &limits) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Brings the loopback interface up.
pub(crate) fn bring_loopback_up() -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let mut request = interface_request(c"lo");
    // SAFETY: the request is an ifreq with a name, which both calls read; the flags are the member they fill and read.
    unsafe {
        control(&socket, libc::SIOCGIFFLAGS, &mut request)?;
        if request.ifr_ifru.ifru_flags & libc::IFF_UP as libc::c_short != 0 {
            return Ok(());
        }
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        control(&socket, libc::SIOCSIFFLAGS, &mut request)
    }
}

/// Gives the loopback interface one more address, so that what connects to it comes to the guest.
pub(crate) fn add_loopback_address(address: IpAddr) -> io::Result<()> {
    match address {
        IpAddr::V4(address) => add_loopback_v4(address),
        IpAddr::V6(address) => add_loopback_v6(address),
    }
}

fn add_loopback_v4(address: Ipv4Addr) -> io::Result<()> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    // Each address needs a label of its own; that of the address itself, in hexadecimal, is one.
    let label =
        std::ffi::CString::new(format!("lo:{:08x}", address.to_bits())).expect("there is no zero byte");
    for (call, value) in [(libc::SIOCSIFADDR, address), (libc::SIOCSIFNETMASK, Ipv4Addr::BROADCAST)] {
        let mut request = interface_request(&label);
        let value = libc::sockaddr_in {
            sin_family: libc::AF_INET as libc::sa_family_t,
            sin_port: 0,
            sin_addr: libc::in_addr { s_addr: value.to_bits().to_be() },
            sin_zero: [0; 8],
        };
        // SAFETY: a sockaddr_in is a sockaddr of the same size, and the request outlives the call that reads it.
        unsafe {
            request.ifr_ifru.ifru_addr = std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(value);
            control(&socket, call, &mut request)?;
        }
    }
    Ok(())
}

fn add_loopback_v6(address: Ipv6Addr) -> io::Result<()> {
    /// `struct in6_ifreq` of the kernel.
    #[repr(C)]
    struct Request {
        address: [u8; 16],
        prefix_bits: u32,
        interface: libc::c_int,
    }
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?;
    // SAFETY: the name is a C string.
    let interface = unsafe { libc::if_nametoindex(c"lo".as_ptr()) };
    let interface = libc::c_int::try_from(interface).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut request = Request { address: address.octets(), prefix_bits: 128, interface };
    // SAFETY: this call on an IPv6 socket reads an in6_ifreq, which the request is.
    unsafe { control(&socket, libc::SIOCSIFADDR, &mut request) }
}

fn interface_request(name: &CStr) -> libc::ifreq {
    // SAFETY: all-zero bytes are a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.to_bytes()) {
        *to = from.cast_signed();
    }
    request
}

/// # Safety
/// `request` must be what `call` reads and writes.
unsafe fn control<R>(socket: &UdpSocket, call: libc::Ioctl, request: &mut R) -> io::Result<()> {
    // SAFETY: the caller vouches for the request; the descriptor is open.
    match unsafe { libc::ioctl(socket.as_raw_fd(), call, request) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
