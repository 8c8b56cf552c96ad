//! Namespaces and mounts: new ones, others', changes of one's own.

use crate::attempt::{attempt, call, exit_at_once, leaked, raw, words};

const NAMESPACES: [(&str, i32); 8] = [
    ("user", libc::CLONE_NEWUSER),
    ("mount", libc::CLONE_NEWNS),
    ("pid", libc::CLONE_NEWPID),
    ("net", libc::CLONE_NEWNET),
    ("uts", libc::CLONE_NEWUTS),
    ("ipc", libc::CLONE_NEWIPC),
    ("cgroup", libc::CLONE_NEWCGROUP),
    ("time", 0x80),
];

pub(super) fn namespaces(guest: i32) {
    for (name, flag) in NAMESPACES {
        call(&format!("unshare {name}"), libc::SYS_unshare, words![flag]);
        call(&format!("unshare user with {name}"), libc::SYS_unshare, words![flag | libc::CLONE_NEWUSER]);
        // Of clone the bit of a time namespace is part of the signal.
        if name != "time" {
            cloned(&format!("clone {name}"), flag);
            cloned(&format!("clone user with {name}"), flag | libc::CLONE_NEWUSER);
        }
    }
    attempt("clone3", || {
        let mut arguments = [0_u64; 11];
        arguments[0] = libc::CLONE_NEWUSER as u64;
        arguments[4] = libc::SIGCHLD as u64;
        in_clone(raw(libc::SYS_clone3, words![&arguments[..], size_of_val(&arguments)]))
    });
    for name in ["user", "mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        for (whose, process) in [("own", "self".to_owned()), ("the guest's", guest.to_string())] {
            attempt(&format!("setns to {whose} {name}"), || {
                let file = std::fs::File::open(format!("/proc/{process}/ns/{name}")).ok()?;
                raw(libc::SYS_setns, words![std::os::fd::AsRawFd::as_raw_fd(&file), 0]).map(|n| n.to_string())
            });
        }
    }
    if std::thread::spawn(|| 1).join().ok() != Some(1) {
        leaked("nothing, but threads do not start");
    }
}

fn cloned(what: &str, flags: i32) {
    attempt(what, || in_clone(raw(libc::SYS_clone, words![flags | libc::SIGCHLD, 0, 0, 0, 0])));
}

fn in_clone(child: Option<i64>) -> Option<String> {
    match child? {
        0 => exit_at_once(0),
        child => Some(format!("process {child}")),
    }
}

/// Everything that changes mounts or roots.
pub(super) fn mounts(_: i32) {
    let here = c"/tmp/a";
    drop(std::fs::create_dir_all("/tmp/a/b"));
    for kind in [c"tmpfs", c"proc", c"sysfs", c"overlay", c"devpts", c"cgroup2"] {
        call(&format!("mount {kind:?}"), libc::SYS_mount, words![c"none", here, kind, 0, 0]);
    }
    let (bind, remount) = (libc::MS_BIND as usize, libc::MS_REMOUNT as usize);
    call("bind /usr", libc::SYS_mount, words![c"/usr", here, c"", bind, 0]);
    call("bind /proc", libc::SYS_mount, words![c"/proc", here, c"", bind | libc::MS_REC as usize, 0]);
    for path in [c"/", c"/usr", c"/proc", c"/etc"] {
        call(&format!("remount {path:?}"), libc::SYS_mount, words![c"", path, c"", remount | bind, 0]);
    }
    for path in [c"/proc", c"/proc/sys", c"/proc/kcore", c"/usr", c"/etc", c"/sys", c"/dev"] {
        call(&format!("umount {path:?}"), libc::SYS_umount2, words![path, libc::MNT_DETACH]);
    }
    call("pivot_root", libc::SYS_pivot_root, words![here, c"/tmp/a/b"]);
    call("chroot", libc::SYS_chroot, words![here]);
    let folder = libc::AT_FDCWD;
    call("open_tree clone", libc::SYS_open_tree, words![folder, c"/usr", 1]);
    call("fsopen", libc::SYS_fsopen, words![c"tmpfs", 0]);
    call("fspick", libc::SYS_fspick, words![folder, c"/", 0]);
    call("move_mount", libc::SYS_move_mount, words![folder, here, folder, c"/tmp/a/b", 0]);
    let attributes = [0_u64, 1, 0, 0];
    let of_mount = words![folder, c"/usr", 0, &attributes[..], size_of_val(&attributes)];
    call("mount_setattr", libc::SYS_mount_setattr, of_mount);
    for (name, path, mode, device) in [
        ("character", c"/tmp/null", 0o20_666, 0x103),
        ("block", c"/tmp/disk", 0o60_666, 0x800),
        ("memory", c"/tmp/kmem", 0o20_666, 0x101),
    ] {
        call(&format!("make a {name} device"), libc::SYS_mknodat, words![folder, path, mode, device]);
    }
    call("swapon", libc::SYS_swapon, words![here, 0]);
    call("quotactl", libc::SYS_quotactl, words![0, 0, 0, 0]);
}
