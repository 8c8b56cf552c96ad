//! Parts of the kernel that a step has no business with.

#![expect(unsafe_code, reason = "the 32-bit gate is reached by an instruction alone")]

use crate::attempt::{attempt, call, raw, words};

pub(super) fn surface(_: i32) {
    let zeros = [0_u64; 32];
    let zeros = &zeros[..];
    let map = [2_u32, 4, 4, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let attribute = [
        1_u32, 128, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    for (name, number, words) in [
        ("io_uring_setup", libc::SYS_io_uring_setup, &words![8, zeros][..]),
        ("io_uring_enter", libc::SYS_io_uring_enter, words![0, 0, 0, 0, 0, 0]),
        ("io_uring_register", libc::SYS_io_uring_register, words![0, 0, 0, 0]),
        ("bpf", libc::SYS_bpf, words![0, &map[..], 72]),
        ("perf_event_open", libc::SYS_perf_event_open, words![&attribute[..], 0, -1, -1, 0]),
        ("userfaultfd", libc::SYS_userfaultfd, words![0]),
        ("userfaultfd of user mode", libc::SYS_userfaultfd, words![1]),
        ("add_key", libc::SYS_add_key, words![c"user", c"x", c"y", 1, -3]),
        ("request_key", libc::SYS_request_key, words![c"user", c"x", 0, 0]),
        ("keyctl session", libc::SYS_keyctl, words![1, 0]),
        ("keyctl id", libc::SYS_keyctl, words![0, -3, 1]),
        ("kexec_load", libc::SYS_kexec_load, words![0, 0, 0, 0]),
        ("init_module", libc::SYS_init_module, words![zeros, 0, c""]),
        ("finit_module", libc::SYS_finit_module, words![0, c"", 0]),
        ("delete_module", libc::SYS_delete_module, words![c"x", 0]),
        ("reboot", libc::SYS_reboot, words![0, 0, 0, 0]),
        ("settimeofday", libc::SYS_settimeofday, words![zeros, 0]),
        ("clock_settime", libc::SYS_clock_settime, words![0, zeros]),
        ("sethostname", libc::SYS_sethostname, words![c"x", 1]),
        ("setdomainname", libc::SYS_setdomainname, words![c"x", 1]),
        ("syslog", libc::SYS_syslog, words![3, zeros, 8]),
        ("acct", libc::SYS_acct, words![0]),
        ("nfsservctl", libc::SYS_nfsservctl, words![0, 0, 0]),
        ("vhangup", libc::SYS_vhangup, words![]),
        ("fanotify_init", libc::SYS_fanotify_init, words![0, 0]),
        ("personality without randomised addresses", libc::SYS_personality, words![0x004_0000]),
    ] {
        call(name, number, words);
    }
    attempt("open_by_handle_at", || {
        let mut handle = [0_u32; 34];
        handle[0] = 128;
        let mount = [0_i32];
        raw(libc::SYS_name_to_handle_at, words![libc::AT_FDCWD, c"/usr", &handle[..], &mount[..], 0])?;
        let usr = std::fs::File::open("/usr").ok()?;
        let usr = std::os::fd::AsRawFd::as_raw_fd(&usr);
        raw(libc::SYS_open_by_handle_at, words![usr, &handle[..], 0]).map(|fd| fd.to_string())
    });
    of_other_tables(zeros);
}

#[cfg(target_arch = "x86_64")]
fn of_other_tables(zeros: &[u64]) {
    for (name, number, words) in [
        ("kexec_file_load", libc::SYS_kexec_file_load, &words![-1, -1, 0, 0, 0][..]),
        ("iopl", libc::SYS_iopl, words![3]),
        ("ioperm", libc::SYS_ioperm, words![0x80, 1, 1]),
        ("modify_ldt", libc::SYS_modify_ldt, words![0, zeros, 8]),
    ] {
        call(name, number, words);
    }
    attempt("system call of the x32 table", || raw(0x4000_0027, &[]).map(|pid| pid.to_string()));
    attempt("system call of the i386 table", || {
        let result: i32;
        // SAFETY: `getpid` by the 32-bit gate takes no argument; a kernel answers or kills.
        unsafe {
            std::arch::asm!("int 0x80", inlateout("eax") 20 => result, lateout("r8") _, lateout("r9") _,
                lateout("r10") _, lateout("r11") _);
        }
        (result > 0).then(|| result.to_string())
    });
}

#[cfg(not(target_arch = "x86_64"))]
fn of_other_tables(_: &[u64]) {}
