//! What is refused, as data: each call with the kind of attack that it would open.
//!
//! The universe is finite: calls up to [`HIGHEST_KNOWN`] were each judged, and what is not in [`REFUSED`] or
//! [`CONDITIONAL`] is allowed, since shells, Python, Node, Go, git and psql use it or it only concerns the caller's own
//! memory, files and children. What a later kernel adds is answered with ENOSYS, as an older kernel would, so that
//! programs fall back. In that sense it is an allow-list, written down by its complement because that is what a
//! reviewer wants to read.

/// The kind of attack that a refusal prevents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attack {
    /// A namespace of its own gives the step capabilities in it, and with them most of the kernel's attack surface.
    Namespaces,
    /// Mounts and roots redirect or uncover files.
    Mounts,
    /// Reading, tracing or taking descriptors from another process, above all the guest.
    OtherProcesses,
    /// Parts of the kernel with a long record of privilege escalations, of no use to a step.
    KernelSurface,
    /// Keys of the kernel's keyrings, which namespaces do not separate.
    Keyrings,
    /// Changing the machine: modules, kernel, clock, swap, host name.
    Machine,
    /// Files by handle, past the mount namespace.
    FileHandles,
    /// Where other tenants' memory lies and moves.
    Placement,
}

/// The answer to a refused call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// EPERM: the caller is told that it may not.
    NotPermitted,
    /// ENOSYS: the caller is made to fall back to an older call.
    Absent,
}

/// A refused call.
pub(super) struct Refusal {
    pub(super) call: libc::c_long,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers and tests"))]
    pub(super) name: &'static str,
    pub(super) answer: Answer,
    #[cfg_attr(not(test), expect(dead_code, reason = "for readers and tests"))]
    pub(super) attack: Attack,
}

macro_rules! refused {
    ($($attack:ident, $answer:ident: $($call:ident)*;)*) => {
        &[$($(Refusal {
            call: libc::$call,
            name: stringify!($call),
            answer: Answer::$answer,
            attack: Attack::$attack,
        },)*)*]
    };
}

/// Calls that are refused whatever their arguments.
pub(super) const REFUSED: &[Refusal] = refused! {
    // glibc, Go and Rust fall back to clone, whose flags a filter can see; those of clone3 lie in memory.
    Namespaces, Absent: SYS_clone3;
    Namespaces, NotPermitted: SYS_unshare SYS_setns;
    Mounts, NotPermitted: SYS_mount SYS_umount2 SYS_pivot_root SYS_chroot SYS_open_tree SYS_move_mount SYS_fsopen
        SYS_fsconfig SYS_fsmount SYS_fspick SYS_mount_setattr SYS_quotactl SYS_quotactl_fd;
    OtherProcesses, NotPermitted: SYS_ptrace SYS_process_vm_readv SYS_process_vm_writev SYS_pidfd_getfd SYS_kcmp
        SYS_process_madvise SYS_process_mrelease;
    // Node and others probe io_uring and go on without it.
    KernelSurface, Absent: SYS_io_uring_setup SYS_io_uring_enter SYS_io_uring_register SYS_memfd_secret;
    KernelSurface, NotPermitted: SYS_bpf SYS_perf_event_open SYS_userfaultfd SYS_fanotify_init SYS_fanotify_mark
        SYS_vhangup SYS_acct;
    Keyrings, NotPermitted: SYS_keyctl SYS_add_key SYS_request_key;
    Machine, NotPermitted: SYS_init_module SYS_finit_module SYS_delete_module SYS_kexec_load SYS_reboot SYS_swapon
        SYS_swapoff SYS_settimeofday SYS_clock_settime SYS_clock_adjtime SYS_adjtimex SYS_sethostname
        SYS_setdomainname SYS_syslog SYS_nfsservctl SYS_lookup_dcookie;
    FileHandles, NotPermitted: SYS_open_by_handle_at SYS_name_to_handle_at;
    Placement, NotPermitted: SYS_move_pages SYS_migrate_pages SYS_mbind SYS_set_mempolicy;
};

/// Calls that only x86-64 has, or that it numbers by itself.
#[cfg(target_arch = "x86_64")]
pub(super) const REFUSED_HERE: &[Refusal] = refused! {
    Machine, NotPermitted: SYS_kexec_file_load SYS_iopl SYS_ioperm;
    KernelSurface, NotPermitted: SYS_modify_ldt SYS_uselib SYS_ustat SYS_sysfs SYS__sysctl;
};

/// Calls that only this architecture has, or that it numbers by itself.
#[cfg(target_arch = "aarch64")]
pub(super) const REFUSED_HERE: &[Refusal] = refused! {
    Machine, NotPermitted: SYS_kexec_file_load;
};

/// `file_setattr`, Linux 6.17: the last call that was judged.
pub(super) const HIGHEST_KNOWN: u32 = 469;
/// Numbers that no call has, or that are for the kernel's own use (`uretprobe`); both ends included.
#[cfg(target_arch = "x86_64")]
pub(super) const GAP: (u32, u32) = (335, 423);
/// Numbers that no call has; both ends included.
#[cfg(target_arch = "aarch64")]
pub(super) const GAP: (u32, u32) = (295, 423);

/// Newer calls without a constant in libc: `set_mempolicy_home_node`, `statmount`, `listmount`, `lsm_set_self_attr`,
/// `open_tree_attr`.
pub(super) const REFUSED_BY_NUMBER: &[(u32, Attack)] = &[
    (450, Attack::Placement),
    (457, Attack::Mounts),
    (458, Attack::Mounts),
    (460, Attack::KernelSurface),
    (467, Attack::Mounts),
];

/// A test on the lower 32 bits of one argument: the kernel reads these arguments as 32-bit numbers, so a test on all
/// 64 bits could be passed by bits that the kernel ignores.
#[derive(Clone, Copy, Debug)]
pub(super) enum Test {
    /// Refuse if any of these bits is set.
    AnyBit { argument: u32, bits: u32 },
    /// Refuse if the masked argument is one of these.
    OneOf { argument: u32, mask: u32, values: &'static [u32] },
    /// Refuse unless the masked argument is one of these.
    NoneOf { argument: u32, mask: u32, values: &'static [u32] },
}

/// A call that is refused for some arguments.
pub(super) struct Conditional {
    pub(super) call: libc::c_long,
    /// Tests hold in this case of the first argument; `None` is any case.
    pub(super) first: Option<u32>,
    pub(super) tests: &'static [Test],
    pub(super) errno: i32,
}

const ALL: u32 = u32::MAX;
const CLONE_NEW: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;
/// Type of a socket without its flags.
const SOCKET_TYPE: u32 = 0xf;
const STREAM: u32 = libc::SOCK_STREAM as u32;
const DATAGRAM: u32 = libc::SOCK_DGRAM as u32;
const SEQPACKET: u32 = libc::SOCK_SEQPACKET as u32;
const UNIX: u32 = libc::AF_UNIX as u32;
const INET: u32 = libc::AF_INET as u32;
const INET6: u32 = libc::AF_INET6 as u32;
const NETLINK: u32 = libc::AF_NETLINK as u32;
/// 0, TCP, UDP: no ICMP, SCTP, MPTCP, raw IP.
const INET_TESTS: &[Test] = &[
    Test::NoneOf { argument: 1, mask: SOCKET_TYPE, values: &[STREAM, DATAGRAM] },
    Test::NoneOf { argument: 2, mask: ALL, values: &[0, libc::IPPROTO_TCP as u32, libc::IPPROTO_UDP as u32] },
];

/// What a step without any network is refused beside the rest. The errno is that of a machine without one.
pub(super) const OFFLINE: Conditional = Conditional {
    call: libc::SYS_socket,
    first: None,
    tests: &[Test::OneOf { argument: 0, mask: ALL, values: &[INET, INET6] }],
    errno: libc::ENETDOWN,
};

/// Calls that are refused for some arguments. The errno of a socket is the one of a kernel without that family or
/// protocol, so that programs that probe go on.
pub(super) const CONDITIONAL: &[Conditional] = &[
    Conditional {
        call: libc::SYS_clone,
        first: None,
        tests: &[Test::AnyBit { argument: 0, bits: CLONE_NEW }],
        errno: libc::EPERM,
    },
    Conditional {
        call: libc::SYS_socket,
        first: None,
        tests: &[Test::NoneOf { argument: 0, mask: ALL, values: &[UNIX, INET, INET6, NETLINK] }],
        errno: libc::EAFNOSUPPORT,
    },
    Conditional {
        call: libc::SYS_socket,
        first: Some(UNIX),
        tests: &[Test::NoneOf { argument: 1, mask: SOCKET_TYPE, values: &[STREAM, DATAGRAM, SEQPACKET] }],
        errno: libc::EPROTONOSUPPORT,
    },
    Conditional {
        call: libc::SYS_socket,
        first: Some(INET),
        tests: INET_TESTS,
        errno: libc::EPROTONOSUPPORT,
    },
    Conditional {
        call: libc::SYS_socket,
        first: Some(INET6),
        tests: INET_TESTS,
        errno: libc::EPROTONOSUPPORT,
    },
    Conditional {
        // getaddrinfo and getifaddrs ask NETLINK_ROUTE which addresses there are.
        call: libc::SYS_socket,
        first: Some(NETLINK),
        tests: &[Test::NoneOf { argument: 2, mask: ALL, values: &[libc::NETLINK_ROUTE as u32] }],
        errno: libc::EPROTONOSUPPORT,
    },
    Conditional {
        call: libc::SYS_socketpair,
        first: None,
        tests: &[Test::NoneOf { argument: 0, mask: ALL, values: &[UNIX] }],
        errno: libc::EAFNOSUPPORT,
    },
    Conditional {
        // Typing into a terminal that another process reads, and line disciplines, which load modules.
        call: libc::SYS_ioctl,
        first: None,
        tests: &[Test::OneOf {
            argument: 1,
            mask: ALL,
            values: &[libc::TIOCSTI as u32, libc::TIOCLINUX as u32, libc::TIOCSETD as u32],
        }],
        errno: libc::EPERM,
    },
    Conditional {
        // PER_LINUX, PER_LINUX32, UNAME26 and the question; the others undo defences such as address randomisation.
        call: libc::SYS_personality,
        first: None,
        tests: &[Test::NoneOf { argument: 0, mask: ALL, values: &[0, 8, 0x2_0000, 0x2_0008, u32::MAX] }],
        errno: libc::EPERM,
    },
    Conditional {
        // Where the step shares the guest's user it could take the guest's processor time or memory away. libc, Go and
        // shells name themselves by 0; a filter cannot know the caller's own number.
        call: libc::SYS_prlimit64,
        first: None,
        tests: &[Test::NoneOf { argument: 0, mask: ALL, values: &[0] }],
        errno: libc::EPERM,
    },
    #[cfg(target_arch = "x86_64")]
    Conditional {
        call: libc::SYS_mknod,
        first: None,
        tests: &[Test::OneOf { argument: 1, mask: libc::S_IFMT, values: &[libc::S_IFCHR, libc::S_IFBLK] }],
        errno: libc::EPERM,
    },
    Conditional {
        call: libc::SYS_mknodat,
        first: None,
        tests: &[Test::OneOf { argument: 2, mask: libc::S_IFMT, values: &[libc::S_IFCHR, libc::S_IFBLK] }],
        errno: libc::EPERM,
    },
];
