//! The guest's memory, environment, descriptors, program and life.

use crate::attempt::{attempt, call, can_read, can_write, leaked, raw, words};

const PTRACE_ATTACH: i32 = 16;
const PTRACE_SEIZE: i32 = 0x4206;
/// Descriptors of the guest that are tried.
const DESCRIPTORS: i32 = 32;

pub(super) fn read(guest: i32) {
    for name in ["mem", "environ", "maps", "smaps", "auxv", "stack", "syscall", "pagemap"] {
        can_read(&format!("/proc/{guest}/{name}"));
    }
    for name in ["mem", "exe", "clear_refs"] {
        can_write(&format!("/proc/{guest}/{name}"));
    }
    for number in 0..DESCRIPTORS {
        can_read(&format!("/proc/{guest}/fd/{number}"));
        can_write(&format!("/proc/{guest}/fd/{number}"));
    }
    for link in ["exe", "cwd", "root", "ns/user", "ns/mnt"] {
        let path = format!("/proc/{guest}/{link}");
        attempt(&format!("read the link {link}"), || Some(format!("{:?}", std::fs::read_link(path).ok()?)));
    }
    for folder in ["root", "map_files", "task/1/fd"] {
        let path = format!("/proc/{guest}/{folder}");
        attempt(&format!("list {folder}"), || {
            let mut entries = std::fs::read_dir(path).ok()?;
            // The numbers of descriptors may show; what they stand for may not.
            entries.find_map(|entry| std::fs::read_link(entry.ok()?.path()).ok()).map(|to| format!("{to:?}"))
        });
    }
    call("ptrace attach", libc::SYS_ptrace, words![PTRACE_ATTACH, guest, 0, 0]);
    call("ptrace seize", libc::SYS_ptrace, words![PTRACE_SEIZE, guest, 0, 0]);
    let buffer = [0_u8; 64];
    let here = [buffer.as_ptr() as usize, buffer.len()];
    let there = [0x40_0000_usize, buffer.len()];
    for (name, number) in
        [("process_vm_readv", libc::SYS_process_vm_readv), ("process_vm_writev", libc::SYS_process_vm_writev)]
    {
        call(name, number, words![guest, &here[..], 1, &there[..], 1, 0]);
    }
    attempt("pidfd_getfd", || {
        let pidfd = raw(libc::SYS_pidfd_open, words![guest, 0])? as usize;
        (0..16)
            .find_map(|number| raw(libc::SYS_pidfd_getfd, words![pidfd, number, 0]))
            .map(|fd| fd.to_string())
    });
    call("kcmp", libc::SYS_kcmp, words![guest, guest, 0, 0, 0]);
    call("move_pages", libc::SYS_move_pages, words![guest, 0, 0, 0, 0, 0]);
    call("process_madvise", libc::SYS_process_madvise, words![guest, &there[..], 1, 4, 0]);
}

/// Standard streams alone are inherited.
pub(super) fn descriptors(_: i32) {
    let Ok(folder) = std::fs::read_dir("/proc/self/fd") else { return };
    for entry in folder.flatten() {
        let number: i32 = entry.file_name().to_str().and_then(|name| name.parse().ok()).unwrap_or(0);
        let Ok(to) = std::fs::read_link(entry.path()) else { continue };
        // The listing itself is not inherited.
        if number > 2 && !to.starts_with("/proc/") {
            leaked(&format!("descriptor {number} is {to:?}"));
        }
    }
}

/// Signals to the guest, and its limits.
pub(super) fn kill(guest: i32) {
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGQUIT,
        libc::SIGABRT,
        libc::SIGSEGV,
        libc::SIGTERM,
        libc::SIGKILL,
        libc::SIGSTOP,
    ] {
        raw(libc::SYS_kill, words![guest, signal]);
    }
    attempt("stop the guest", || {
        let stat = std::fs::read_to_string(format!("/proc/{guest}/stat")).ok()?;
        let state = stat.rsplit_once(") ")?.1.chars().next()?;
        "TtZX".contains(state).then(|| state.to_string())
    });
    // The one would end the guest, the other make it deaf.
    for (name, resource) in [("CPU", libc::RLIMIT_CPU), ("NOFILE", libc::RLIMIT_NOFILE)] {
        let zero = [0_u64, 0];
        call(
            &format!("prlimit {name} of the guest"),
            libc::SYS_prlimit64,
            words![guest, resource as usize, &zero[..], 0],
        );
    }
    call("lower the guest's priority", libc::SYS_sched_setaffinity, words![guest, 8, &[0_u64][..]]);
}
