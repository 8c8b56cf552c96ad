//! What /proc tells of the host, what can be set there, and the terminal of who reads it next.

use super::told;
use crate::attempt::{attempt, call, can_read, can_write, leaked, raw, words};

/// `PROBE_HOST_NAME` is the host's name.
pub(super) fn change(guest: i32) {
    let host = told("PROBE_HOST_NAME");
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    if !host.is_empty() && name.trim() == host {
        leaked(&format!("the host's name {host}"));
    }
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if pid == own || pid == guest {
            continue;
        }
        let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        leaked(&format!("process {pid} {:?}", String::from_utf8_lossy(&words)));
    }
    for name in
        ["kcore", "keys", "kmsg", "timer_list", "sched_debug", "latency_stats", "kpagecount", "kpageflags"]
    {
        can_read(&format!("/proc/{name}"));
    }
    for name in [
        "sysrq-trigger",
        "sys/kernel/hostname",
        "sys/kernel/core_pattern",
        "sys/kernel/modprobe",
        "sys/vm/panic_on_oom",
        "sys/kernel/ns_last_pid",
        "sys/net/ipv4/ip_forward",
        "sys/net/ipv4/ip_unprivileged_port_start",
        "sys/user/max_user_namespaces",
        "irq/default_smp_affinity",
        "sys/fs/binfmt_misc/register",
        "acpi/wakeup",
        "bus/pci/00/00.0",
        "fs/nfsd/threads",
        "mtrr",
    ] {
        can_write(&format!("/proc/{name}"));
    }
    for name in
        ["kernel/notes", "power/state", "kernel/uevent_helper", "kernel/mm/hugepages", "class/net/lo/mtu"]
    {
        can_write(&format!("/sys/{name}"));
    }
    // What the worker has in its environment, were it to be handed on.
    for path in ["/proc/self/environ".to_owned(), format!("/proc/{guest}/environ")] {
        attempt(&format!("the worker's environment in {path}"), || {
            let bytes = std::fs::read(path).ok()?;
            let known = bytes.split(|byte| *byte == 0).find(|entry| entry.starts_with(b"SAGEWAI_CANARY="))?;
            Some(String::from_utf8_lossy(known).into_owned())
        });
    }
    // 1 byte is the one limit that also stops dumps into a program of the host's.
    let limits = [0_u64, 0];
    raw(libc::SYS_prlimit64, words![0, libc::RLIMIT_CORE as usize, 0, &limits[..]]);
    // The kernel has written there, which the compiler need not know.
    let limits = std::hint::black_box(limits);
    if limits != [1, 1] {
        leaked(&format!("core dumps of {limits:?} bytes"));
    }
}

/// What is the host's and not the sandbox's: devices, interrupts, the kernel's configuration and command line, cgroups.
pub(super) fn facts(_: i32) {
    for name in [
        "config.gz",
        "cmdline",
        "diskstats",
        "partitions",
        "interrupts",
        "softirqs",
        "iomem",
        "ioports",
        "kallsyms",
        "modules",
        "slabinfo",
        "vmallocinfo",
        "zoneinfo",
        "buddyinfo",
        "pagetypeinfo",
        "schedstat",
        "devices",
        "misc",
        "swaps",
        "mdstat",
        "crypto",
        "consoles",
        "dma",
        "execdomains",
        "fb",
        "key-users",
        "locks",
        "bootconfig",
        "driver/rtc",
        "scsi/scsi",
        "bus/pci/devices",
        "bus/input/devices",
        "irq/0/spurious",
        "tty/drivers",
        "pressure/cpu",
    ] {
        can_read(&format!("/proc/{name}"));
    }
    let cgroup = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if let Some(line) = cgroup.lines().find(|line| !line.ends_with(":/") && !line.is_empty()) {
        leaked(&format!("the cgroup {line}"));
    }
    for entry in std::fs::read_dir("/sys/class/net").into_iter().flatten().flatten() {
        if entry.file_name() != "lo" {
            leaked(&format!("interface {:?}", entry.file_name()));
        }
    }
    for name in [
        "class/dmi/id/product_uuid",
        "class/dmi/id/sys_vendor",
        "block/sda/size",
        "firmware/acpi/tables/DSDT",
    ] {
        can_read(&format!("/sys/{name}"));
    }
}

/// Typing into the terminal for whoever reads it next. Without a terminal there is nothing to type into.
pub(super) fn terminal(_: i32) {
    let byte = [b'x'];
    call("TIOCSTI", libc::SYS_ioctl, words![0, libc::TIOCSTI as usize, &byte[..]]);
    let paste = [3_u8];
    call("TIOCLINUX", libc::SYS_ioctl, words![0, 0x541C, &paste[..]]);
    call("TIOCSETD", libc::SYS_ioctl, words![0, 0x5423, &[1_i32][..]]);
}
