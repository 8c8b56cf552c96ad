//! What the guest's own tests try: each call with its result, one line each, `name: result`.

#![expect(unsafe_code, reason = "raw system calls are what it is for")]

use std::io::{Read, Write};

/// Whether the command is one of these.
pub(crate) fn run(command: &str, rest: &[&str]) -> bool {
    match (command, rest) {
        ("calls", []) => calls(),
        ("i386", []) => i386(),
        ("status", []) => status(),
        ("guest", [pid]) => guest(pid),
        ("threads", []) => threads(),
        ("flood", [megabytes]) => flood(megabytes.parse().expect("a number")),
        _ => return false,
    }
    true
}

fn report(name: &str, result: i64) {
    let error = std::io::Error::last_os_error();
    match result {
        -1 => println!("{name}: {}", errno_name(error.raw_os_error().unwrap_or(0))),
        _ => println!("{name}: done"),
    }
}

fn errno_name(number: i32) -> String {
    match number {
        libc::EPERM => "EPERM".into(),
        libc::ENOSYS => "ENOSYS".into(),
        libc::EACCES => "EACCES".into(),
        libc::EAFNOSUPPORT => "EAFNOSUPPORT".into(),
        libc::EPROTONOSUPPORT => "EPROTONOSUPPORT".into(),
        other => format!("errno {other}"),
    }
}

/// Each call with arguments that would succeed, or fail in another way, without a filter.
fn calls() {
    let null = std::ptr::null::<u8>();
    // SAFETY: each call gets null pointers, numbers or C strings; a kernel refuses or performs it.
    unsafe {
        macro_rules! attempt {
            ($name:ident $(, $argument:expr)*) => {
                report(stringify!($name), libc::syscall(libc::$name $(, $argument)*))
            };
        }
        attempt!(SYS_unshare, libc::CLONE_NEWUSER);
        attempt!(SYS_setns, -1, 0);
        attempt!(SYS_clone3, null, 0);
        report(
            "clone CLONE_NEWUSER",
            libc::syscall(libc::SYS_clone, libc::CLONE_NEWUSER | libc::SIGCHLD, 0, 0, 0, 0),
        );
        attempt!(SYS_mount, c"none".as_ptr(), c"/tmp".as_ptr(), c"tmpfs".as_ptr(), 0, null);
        attempt!(SYS_umount2, c"/tmp".as_ptr(), 0);
        attempt!(SYS_pivot_root, c"/".as_ptr(), c"/".as_ptr());
        attempt!(SYS_chroot, c"/".as_ptr());
        attempt!(SYS_open_tree, -100, c"/".as_ptr(), 1);
        attempt!(SYS_fsopen, c"tmpfs".as_ptr(), 0);
        attempt!(SYS_move_mount, -1, null, -1, null, 0);
        attempt!(SYS_mount_setattr, -100, c"/".as_ptr(), 0, null, 0);
        attempt!(SYS_ptrace, 0, 0, 0, 0);
        attempt!(SYS_process_vm_readv, 1, null, 0, null, 0, 0);
        attempt!(SYS_pidfd_getfd, -1, 0, 0);
        attempt!(SYS_kcmp, 1, 1, 0, 0, 0);
        attempt!(SYS_io_uring_setup, 1, null);
        attempt!(SYS_bpf, 0, null, 0);
        attempt!(SYS_perf_event_open, null, 0, -1, -1, 0);
        attempt!(SYS_userfaultfd, 1);
        attempt!(SYS_keyctl, 0, -3, 1);
        attempt!(SYS_add_key, c"user".as_ptr(), c"a".as_ptr(), c"b".as_ptr(), 1, -3);
        attempt!(SYS_request_key, c"user".as_ptr(), c"a".as_ptr(), null, -3);
        attempt!(SYS_init_module, null, 0, null);
        attempt!(SYS_finit_module, -1, null, 0);
        attempt!(SYS_kexec_load, 0, 0, null, 0);
        attempt!(SYS_open_by_handle_at, -1, null, 0);
        attempt!(SYS_reboot, 0, 0, 0, null);
        attempt!(SYS_settimeofday, null, null);
        attempt!(SYS_sethostname, c"x".as_ptr(), 1);
        attempt!(SYS_syslog, 3, null, 0);
        attempt!(SYS_personality, 0x0040000);
        report(
            "mknod device",
            libc::syscall(libc::SYS_mknodat, -100, c"/tmp/probe-null".as_ptr(), 0o20666, 0x103),
        );
        report("ioctl TIOCSTI", libc::syscall(libc::SYS_ioctl, 0, libc::TIOCSTI, c"x".as_ptr()));
        report("call 1000", libc::syscall(1000));
        for (name, family, kind, protocol) in [
            ("AF_PACKET", libc::AF_PACKET, libc::SOCK_RAW, 0),
            ("AF_VSOCK", libc::AF_VSOCK, libc::SOCK_STREAM, 0),
            ("AF_ALG", libc::AF_ALG, libc::SOCK_SEQPACKET, 0),
            ("raw IP", libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP),
            ("ICMP", libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            ("netlink netfilter", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
            ("netlink route", libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
            ("unix", libc::AF_UNIX, libc::SOCK_STREAM, 0),
            ("tcp", libc::AF_INET, libc::SOCK_STREAM, 0),
            ("tcp6", libc::AF_INET6, libc::SOCK_STREAM, 0),
        ] {
            report(name, i64::from(libc::socket(family, kind, protocol)));
        }
    }
}

/// `getpid` by the 32-bit gate.
fn i386() {
    println!("before");
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the call takes no argument; a kernel answers or kills.
    unsafe {
        let result: i32;
        std::arch::asm!("int 0x80", inlateout("eax") 20 => result, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _);
        println!("i386: {result}");
    }
}

fn status() {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let wanted =
        ["Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"];
    for line in status.lines() {
        let Some((name, value)) = line.split_once(':') else { continue };
        if wanted.contains(&name) {
            println!("{name}: {}", value.split_whitespace().collect::<Vec<_>>().join(" "));
        }
    }
}

/// Tries to read the guest and to write to its channel.
fn guest(pid: &str) {
    for file in [
        "mem", "environ", "maps", "auxv", "stack", "syscall", "fd/0", "fd/1", "fd/3", "fd/4", "exe", "cwd",
        "root",
    ] {
        let path = format!("/proc/{pid}/{file}");
        let result = std::fs::File::open(&path).and_then(|mut opened| opened.read(&mut [0; 1]));
        println!("read {file}: {}", if result.is_ok() { "done" } else { "refused" });
    }
    for file in ["mem", "fd/0", "fd/1", "fd/3", "fd/4", "exe", "comm", "oom_score_adj"] {
        let opened = std::fs::OpenOptions::new().write(true).open(format!("/proc/{pid}/{file}"));
        println!("write {file}: {}", if opened.is_ok() { "done" } else { "refused" });
    }
    // Where the host's root is the sandbox's user, the numbers can be listed, but not what they stand for.
    let descriptors = std::fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let seen = descriptors.filter(|entry| std::fs::read_link(entry.path()).is_ok()).count();
    println!("see descriptors: {}", if seen > 0 { "done" } else { "refused" });
    let number: i32 = pid.parse().expect("a number");
    // SAFETY: the calls get numbers and null pointers.
    unsafe {
        report("ptrace", libc::ptrace(libc::PTRACE_SEIZE, number, 0, 0));
        if number == 1 {
            report("kill", i64::from(libc::kill(number, libc::SIGSTOP)));
        }
        let pidfd = libc::syscall(libc::SYS_pidfd_open, number, 0);
        report("pidfd_getfd", libc::syscall(libc::SYS_pidfd_getfd, pidfd, 1, 0));
    }
}

/// A thread and a child start.
fn threads() {
    let sum = std::thread::spawn(|| 1 + 1).join().expect("a thread runs");
    let child =
        std::process::Command::new("/proc/self/exe").args(["exit", "0"]).status().expect("a child runs");
    println!("{sum} {}", child.success());
}

/// Lines as a program logs them, so many megabytes.
fn flood(megabytes: usize) {
    let line =
        "2026-01-02T03:04:05.678Z INFO worker{id=17} handled GET /api/v1/things/4711?limit=50 in 12.5 ms\n";
    let block = line.repeat(1_000_000 / line.len());
    let mut out = std::io::stdout().lock();
    for _ in 0..megabytes {
        out.write_all(block.as_bytes()).expect("somebody reads");
    }
}
