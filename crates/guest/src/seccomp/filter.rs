//! From the policy to classic BPF, as the kernel's seccomp takes it.
//!
//! Each test ends in a return of its own, so no jump is longer than a few instructions. The length of the program does
//! not cost much: the kernel remembers the calls that are always allowed (Linux 5.11 and later).

use std::io;

use libc::sock_filter;

use super::policy::{
    Answer, CONDITIONAL, Conditional, GAP, HIGHEST_KNOWN, OFFLINE, REFUSED, REFUSED_BY_NUMBER, REFUSED_HERE,
    Test,
};
use crate::sys;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// x32 calls come under the architecture of x86-64, with this bit.
const X32_BIT: u32 = 0x4000_0000;

// Offsets in `struct seccomp_data`.
const NUMBER_OFFSET: u32 = 0;
const ARCHITECTURE_OFFSET: u32 = 4;
const ARGUMENTS_OFFSET: u32 = 16;

/// Applies the policy to this process and all that it starts from now on. It needs `no_new_privs`.
pub(crate) fn install() -> io::Result<()> {
    sys::install_seccomp_filter(&program())
}

/// Further refuses internet sockets to this process and all that it starts: for a step whose sandbox has no network of its
/// own. It works on every kernel, since the family is a plain argument; what a socket connects to is not.
pub(crate) fn refuse_internet() -> io::Result<()> {
    sys::install_seccomp_filter(&offline_program())
}

/// Behind [`program`], which has judged the architecture and the other families.
fn offline_program() -> Vec<sock_filter> {
    let mut code = vec![load(NUMBER_OFFSET)];
    code.extend(conditional_block(&OFFLINE));
    code.push(answer(libc::SECCOMP_RET_ALLOW));
    code
}

fn program() -> Vec<sock_filter> {
    let mut code = vec![
        load(ARCHITECTURE_OFFSET),
        jump(libc::BPF_JEQ, ARCHITECTURE, 1, 0),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        load(NUMBER_OFFSET),
        jump(libc::BPF_JGE, X32_BIT, 0, 1),
        answer(libc::SECCOMP_RET_KILL_PROCESS),
        jump(libc::BPF_JGT, HIGHEST_KNOWN, 0, 1),
        errno(libc::ENOSYS),
        jump(libc::BPF_JGE, GAP.0, 0, 2),
        jump(libc::BPF_JGT, GAP.1, 1, 0),
        errno(libc::ENOSYS),
    ];
    for refusal in REFUSED.iter().chain(REFUSED_HERE) {
        let number = match refusal.answer {
            Answer::NotPermitted => libc::EPERM,
            Answer::Absent => libc::ENOSYS,
        };
        code.extend([jump(libc::BPF_JEQ, call_number(refusal.call), 0, 1), errno(number)]);
    }
    for (number, _) in REFUSED_BY_NUMBER {
        code.extend([jump(libc::BPF_JEQ, *number, 0, 1), errno(libc::EPERM)]);
    }
    for conditional in CONDITIONAL {
        code.extend(conditional_block(conditional));
    }
    code.push(answer(libc::SECCOMP_RET_ALLOW));
    code
}

/// Tests of one call; the call's number is loaded before and after.
fn conditional_block(conditional: &Conditional) -> Vec<sock_filter> {
    let mut body = Vec::new();
    if let Some(first) = conditional.first {
        body.push(load_argument(0));
        // To the reload at the end: its distance is known once the tests are written.
        body.push(jump(libc::BPF_JEQ, first, 0, 0));
    }
    let first_test = body.len();
    for test in conditional.tests {
        body.extend(test_block(*test, conditional.errno));
    }
    if conditional.first.is_some() {
        let distance = body.len() - first_test;
        body[first_test - 1].jf = u8::try_from(distance).expect("a block of tests is short");
    }
    body.push(load(NUMBER_OFFSET));
    let skip = u8::try_from(body.len()).expect("a block of tests is short");
    body.insert(0, jump(libc::BPF_JEQ, call_number(conditional.call), 0, skip));
    body
}

/// Returns the errno if the test refuses, else runs on behind its end.
fn test_block(test: Test, number: i32) -> Vec<sock_filter> {
    let (argument, mask) = match test {
        Test::AnyBit { argument, bits } => (argument, bits),
        Test::OneOf { argument, mask, .. } | Test::NoneOf { argument, mask, .. } => (argument, mask),
    };
    let mut code = vec![load_argument(argument), and(mask)];
    match test {
        Test::AnyBit { .. } => code.push(jump(libc::BPF_JEQ, 0, 1, 0)),
        Test::OneOf { values, .. } => {
            for (index, value) in values.iter().enumerate() {
                let to_errno = values.len() - index - 1;
                let last = u8::from(to_errno == 0);
                let to_errno = u8::try_from(to_errno).expect("a list of values is short");
                code.push(jump(libc::BPF_JEQ, *value, to_errno, last));
            }
        }
        Test::NoneOf { values, .. } => {
            for (index, value) in values.iter().enumerate() {
                let past_errno = u8::try_from(values.len() - index).expect("a list of values is short");
                code.push(jump(libc::BPF_JEQ, *value, past_errno, 0));
            }
        }
    }
    code.push(errno(number));
    code
}

fn call_number(call: libc::c_long) -> u32 {
    u32::try_from(call).expect("numbers of calls are small")
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// The lower half of an argument, on a little-endian machine.
fn load_argument(argument: u32) -> sock_filter {
    load(ARGUMENTS_OFFSET + argument * 8)
}

fn and(mask: u32) -> sock_filter {
    instruction(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, mask, 0, 0)
}

fn jump(condition: u32, value: u32, on_true: u8, on_false: u8) -> sock_filter {
    instruction(libc::BPF_JMP | condition | libc::BPF_K, value, on_true, on_false)
}

fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn errno(number: i32) -> sock_filter {
    answer(libc::SECCOMP_RET_ERRNO | number.unsigned_abs())
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter { code: u16::try_from(code).expect("codes of BPF have 16 bits"), jt, jf, k }
}

#[cfg(test)]
mod tests {
    use super::super::policy::Attack;
    use super::*;

    const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
    const KILL: u32 = libc::SECCOMP_RET_KILL_PROCESS;

    fn errno_answer(number: i32) -> u32 {
        libc::SECCOMP_RET_ERRNO | number as u32
    }

    /// Runs the program on a call as the kernel would.
    fn judge(architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend_from_slice(&number.to_le_bytes());
        data.extend_from_slice(&architecture.to_le_bytes());
        data.extend_from_slice(&[0; 8]);
        arguments.iter().for_each(|argument| data.extend_from_slice(&argument.to_le_bytes()));
        let program = program();
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let step = &program[at];
            at += 1;
            let code = u32::from(step.code);
            let branch = |taken: bool| usize::from(if taken { step.jt } else { step.jf });
            match code & 7 {
                libc::BPF_LD => {
                    let word = &data[step.k as usize..step.k as usize + 4];
                    accumulator = u32::from_le_bytes(word.try_into().unwrap());
                }
                libc::BPF_ALU => accumulator &= step.k,
                libc::BPF_RET => return step.k,
                _ => {
                    at += branch(match code & 0xf0 {
                        libc::BPF_JEQ => accumulator == step.k,
                        libc::BPF_JGT => accumulator > step.k,
                        _ => accumulator >= step.k,
                    })
                }
            }
        }
    }

    fn call(call: libc::c_long, arguments: &[u64]) -> u32 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        judge(ARCHITECTURE, call_number(call), all)
    }

    #[test]
    fn what_is_refused_is_refused_and_nothing_twice() {
        let mut seen = Vec::new();
        for refusal in REFUSED.iter().chain(REFUSED_HERE) {
            let expected = match refusal.answer {
                Answer::NotPermitted => libc::EPERM,
                Answer::Absent => libc::ENOSYS,
            };
            assert_eq!(
                call(refusal.call, &[]),
                errno_answer(expected),
                "{} {:?}",
                refusal.name,
                refusal.attack
            );
            assert!(!seen.contains(&refusal.call), "{} is listed twice", refusal.name);
            seen.push(refusal.call);
        }
        for (number, attack) in REFUSED_BY_NUMBER {
            assert_eq!(
                judge(ARCHITECTURE, *number, [0; 6]),
                errno_answer(libc::EPERM),
                "{number} {attack:?}"
            );
        }
        assert!(REFUSED.iter().any(|refusal| refusal.attack == Attack::Keyrings));
    }

    #[test]
    fn what_programs_need_is_allowed() {
        for needed in [
            libc::SYS_read,
            libc::SYS_execve,
            libc::SYS_openat2,
            libc::SYS_pidfd_open,
            libc::SYS_memfd_create,
            libc::SYS_rseq,
            libc::SYS_statx,
            libc::SYS_copy_file_range,
            libc::SYS_close_range,
            libc::SYS_epoll_pwait2,
            libc::SYS_faccessat2,
            libc::SYS_landlock_create_ruleset,
            libc::SYS_inotify_init1,
            libc::SYS_membarrier,
        ] {
            assert_eq!(call(needed, &[]), ALLOW, "{needed}");
        }
    }

    #[test]
    fn calls_that_were_not_judged_are_absent() {
        for number in [GAP.0, GAP.1, HIGHEST_KNOWN + 1, 1000, X32_BIT - 1] {
            assert_eq!(judge(ARCHITECTURE, number, [0; 6]), errno_answer(libc::ENOSYS), "{number}");
        }
        for number in [GAP.0 - 1, GAP.1 + 1, HIGHEST_KNOWN] {
            assert_eq!(judge(ARCHITECTURE, number, [0; 6]), ALLOW, "{number}");
        }
    }

    #[test]
    fn foreign_architectures_are_killed() {
        let i386 = 0x4000_0003;
        assert_eq!(judge(i386, 1, [0; 6]), KILL);
        assert_eq!(judge(ARCHITECTURE, X32_BIT | 1, [0; 6]), KILL);
        assert_eq!(judge(ARCHITECTURE, u32::MAX, [0; 6]), KILL);
    }

    #[test]
    fn threads_and_children_start_and_namespaces_do_not() {
        let thread =
            libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_FILES | libc::CLONE_SIGHAND | libc::CLONE_THREAD;
        assert_eq!(call(libc::SYS_clone, &[thread as u64]), ALLOW);
        assert_eq!(call(libc::SYS_clone, &[libc::SIGCHLD as u64]), ALLOW);
        for flag in [
            libc::CLONE_NEWNS,
            libc::CLONE_NEWCGROUP,
            libc::CLONE_NEWUTS,
            libc::CLONE_NEWIPC,
            libc::CLONE_NEWUSER,
            libc::CLONE_NEWPID,
            libc::CLONE_NEWNET,
        ] {
            let flags = (flag | libc::SIGCHLD) as u32;
            assert_eq!(call(libc::SYS_clone, &[u64::from(flags)]), errno_answer(libc::EPERM), "{flag:#x}");
            // Bits that the kernel ignores do not hide the flag.
            assert_eq!(call(libc::SYS_clone, &[u64::from(flags) | 1 << 40]), errno_answer(libc::EPERM));
        }
    }

    #[test]
    fn sockets_are_of_the_listed_kinds() {
        let socket = |family: i32, kind: i32, protocol: i32| {
            call(libc::SYS_socket, &[family as u64, kind as u64, protocol as u64])
        };
        let nonblocking = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        for allowed in [
            socket(libc::AF_UNIX, libc::SOCK_STREAM | nonblocking, 0),
            socket(libc::AF_INET, libc::SOCK_STREAM | nonblocking, libc::IPPROTO_TCP),
            socket(libc::AF_INET6, libc::SOCK_DGRAM, 0),
            socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE),
            socket(libc::AF_NETLINK, libc::SOCK_DGRAM, libc::NETLINK_ROUTE),
        ] {
            assert_eq!(allowed, ALLOW);
        }
        let (family, protocol) = (errno_answer(libc::EAFNOSUPPORT), errno_answer(libc::EPROTONOSUPPORT));
        for refused in
            [libc::AF_PACKET, libc::AF_VSOCK, libc::AF_ALG, libc::AF_BLUETOOTH, libc::AF_XDP, 45, -1]
        {
            assert_eq!(socket(refused, libc::SOCK_STREAM, 0), family, "{refused}");
        }
        for refused in [
            socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_TCP),
            socket(libc::AF_INET6, libc::SOCK_RAW, 255),
            socket(libc::AF_INET, 10, 0),
            socket(libc::AF_INET, libc::SOCK_DGRAM, libc::IPPROTO_ICMP),
            socket(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP),
            socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER),
            socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_KOBJECT_UEVENT),
            socket(libc::AF_UNIX, libc::SOCK_RAW, 0),
        ] {
            assert_eq!(refused, protocol);
        }
    }

    #[test]
    fn limits_are_the_callers_own() {
        assert_eq!(call(libc::SYS_prlimit64, &[0]), ALLOW);
        for other in [1, 2, u64::from(u32::MAX), 1 << 32 | 1] {
            assert_eq!(call(libc::SYS_prlimit64, &[other]), errno_answer(libc::EPERM), "{other}");
        }
        // The kernel reads 32 bits of it.
        assert_eq!(call(libc::SYS_prlimit64, &[1 << 32]), ALLOW);
    }

    #[test]
    fn terminals_devices_and_personalities() {
        let refused = errno_answer(libc::EPERM);
        assert_eq!(call(libc::SYS_ioctl, &[0, libc::TIOCSTI]), refused);
        assert_eq!(call(libc::SYS_ioctl, &[0, libc::TIOCSTI | 1 << 32]), refused);
        assert_eq!(call(libc::SYS_ioctl, &[0, libc::TIOCLINUX]), refused);
        assert_eq!(call(libc::SYS_ioctl, &[0, libc::TIOCSETD]), refused);
        assert_eq!(call(libc::SYS_ioctl, &[0, libc::TIOCGWINSZ]), ALLOW);
        assert_eq!(call(libc::SYS_mknodat, &[0, 0, u64::from(libc::S_IFCHR | 0o600)]), refused);
        assert_eq!(call(libc::SYS_mknodat, &[0, 0, u64::from(libc::S_IFBLK)]), refused);
        assert_eq!(call(libc::SYS_mknodat, &[0, 0, u64::from(libc::S_IFIFO | 0o600)]), ALLOW);
        assert_eq!(call(libc::SYS_personality, &[u64::from(u32::MAX)]), ALLOW);
        assert_eq!(call(libc::SYS_personality, &[0x0040_0000]), refused);
    }
}
