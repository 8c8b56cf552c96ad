//! Privileges now, and ways to gain them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use crate::attempt::{attempt, call, leaked, words};

/// A copy of the probe, with bits that would make it another user's.
const COPY: &str = "/tmp/probe-setuid";

pub(super) fn gain(_: i32) {
    let status = status();
    let value = |name: &str| status.get(name).map_or("", String::as_str);
    for name in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        if u64::from_str_radix(value(name), 16) != Ok(0) {
            leaked(&format!("{name} is {}", value(name)));
        }
    }
    for (name, expected) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
        if value(name) != expected {
            leaked(&format!("{name} is {}", value(name)));
        }
    }
    let own = value("Uid").split_whitespace().next().unwrap_or("").to_owned();
    if own != "0" {
        let root = [0_u32];
        for (name, number, words) in [
            ("setuid", libc::SYS_setuid, &words![0][..]),
            ("setgid", libc::SYS_setgid, words![0]),
            ("setresuid", libc::SYS_setresuid, words![0, 0, 0]),
            ("setgroups", libc::SYS_setgroups, words![1, &root[..]]),
        ] {
            call(name, number, words);
        }
    }
    call("give a file away", libc::SYS_fchownat, words![libc::AT_FDCWD, c"/tmp", 65_534, 65_534, 0]);
    own_setuid_program(&own);
    for (what, words) in [
        ("raise a capability", words![47, 2, 12, 0, 0]),
        ("unset no_new_privs", words![38, 0, 0, 0, 0]),
        ("change the secure bits", words![28, 0, 0, 0, 0]),
        ("become dumpable through another's limits", words![0x59616d61, -1, 0, 0, 0]),
    ] {
        call(what, libc::SYS_prctl, words);
    }
}

/// A copy of the probe with the set-user-id bit runs as who runs it.
fn own_setuid_program(own: &str) {
    if std::fs::copy("/proc/self/exe", COPY).is_err() {
        return leaked("nothing, but a program cannot be copied to /tmp");
    }
    attempt("own program with the set-user-id bit", || {
        std::fs::set_permissions(COPY, std::fs::Permissions::from_mode(0o6755)).ok()?;
        let said = std::process::Command::new(COPY).arg("user").output().ok()?.stdout;
        let said = String::from_utf8_lossy(&said).trim().to_owned();
        (!said.is_empty() && said != format!("{own} {own} {own} {own}")).then_some(said)
    });
    drop(std::fs::remove_file(COPY));
}

/// The fields of /proc/self/status.
pub(crate) fn status() -> BTreeMap<String, String> {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc is there");
    let fields = status.lines().filter_map(|line| line.split_once(':'));
    fields
        .map(|(name, value)| (name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        .collect()
}
