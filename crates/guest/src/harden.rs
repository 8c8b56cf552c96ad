//! What the guest does to itself before it says hello: it becomes unreadable for the step, takes the channel out of
//! reach, and gives up all that neither it nor the step may have.

use std::io;
use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::process::{DumpableBehavior, Gid, Uid};
use rustix::thread::{CapabilitiesSecureBits, CapabilitySet, CapabilitySets};

use crate::{seccomp, sys};

/// User and group of the step inside the sandbox, where the sandbox maps a second one.
pub(crate) const STEP_ID: u32 = 1000;

/// First descriptor above those that a program expects.
const FIRST_FREE_DESCRIPTOR: i32 = 3;

/// Descriptors the guest may need: tunnels, their listeners and a few more.
const OWN_DESCRIPTORS: u64 = 4096;

/// Capabilities the guest keeps for its work until the step starts.
const BEFORE_START: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::FOWNER)
    .union(WHILE_RUNNING);

/// Capabilities the guest keeps while the step runs: to kill and to read what belongs to the step's user, to listen on
/// ports below 1024, to give the loopback interface addresses.
const WHILE_RUNNING: CapabilitySet = CapabilitySet::KILL
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::NET_BIND_SERVICE)
    .union(CapabilitySet::NET_ADMIN);

/// The user that the step runs as, if not the guest's own.
#[derive(Clone, Copy)]
pub(crate) struct StepUser {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
}

/// What [`restrict`] achieved.
pub(crate) struct Restrictions {
    pub(crate) step_user: Option<StepUser>,
    pub(crate) undumpable: bool,
    pub(crate) seccomp: io::Result<()>,
    /// Whether the step gets no internet sockets, because the network is not the sandbox's own.
    pub(crate) offline: bool,
}

/// Makes the guest's memory and descriptors unreadable for all that runs under its user. The first act: nothing secret
/// and no child may exist before it.
pub(crate) fn become_unreadable() -> bool {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).is_ok()
}

/// Moves the channel from standard input and output to private descriptors; /dev/null takes the place of all three
/// standard descriptors.
pub(crate) fn take_channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let input = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdin(), FIRST_FREE_DESCRIPTOR)?;
    let output = rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), FIRST_FREE_DESCRIPTOR)?;
    let null = rustix::fs::open("/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok((input, output))
}

/// Gives up, for good and for all that is started later, what the step must not have. What cannot be given up here
/// shows in the layer reports.
pub(crate) fn restrict(undumpable: bool) -> Restrictions {
    if std::process::id() != 1 {
        // Orphans of the step come to the guest, so that it can end them.
        _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
    }
    // Here rather than in the step's process: the guest has time while it waits for a step.
    sys::reset_signals();
    _ = sys::limit(sys::Resource::Descriptors, OWN_DESCRIPTORS);
    _ = rustix::thread::set_no_new_privs(true);
    empty_bounding_set();
    _ = rustix::thread::clear_ambient_capability_set();
    // Programs of uid 0 are not special, and no program can change that. Needs a capability of the guest; without it
    // the empty bounding set and no_new_privs have the same effect.
    _ = rustix::thread::set_capabilities_secure_bits(
        CapabilitiesSecureBits::NO_ROOT
            | CapabilitiesSecureBits::NO_ROOT_LOCKED
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE
            | CapabilitiesSecureBits::NO_CAP_AMBIENT_RAISE_LOCKED,
    );
    keep_capabilities(BEFORE_START);
    Restrictions { step_user: step_user(), undumpable, seccomp: seccomp::install(), offline: false }
}

/// Gives up what only the start of the step needed.
pub(crate) fn restrict_after_start() {
    keep_capabilities(WHILE_RUNNING);
}

/// Gives up every capability: the step's process, just before it becomes the step's program.
pub(crate) fn drop_capabilities() -> io::Result<()> {
    let none = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::empty(),
        inheritable: CapabilitySet::empty(),
    };
    Ok(rustix::thread::set_capabilities(None, none)?)
}

fn keep_capabilities(kept: CapabilitySet) {
    if let Ok(sets) = rustix::thread::capabilities(None) {
        let kept = sets.permitted & kept;
        let sets = CapabilitySets { effective: kept, permitted: kept, inheritable: CapabilitySet::empty() };
        _ = rustix::thread::set_capabilities(None, sets);
    }
}

fn empty_bounding_set() {
    for number in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(capability) {
            Ok(true) => _ = rustix::thread::remove_capability_from_bounding_set(capability),
            Ok(false) => {}
            // The kernel knows no further capability.
            Err(_) => break,
        }
    }
}

/// A second user for the step, where the sandbox maps one and the guest may change to it.
fn step_user() -> Option<StepUser> {
    let may_change = rustix::thread::capabilities(None)
        .is_ok_and(|sets| sets.effective.contains(CapabilitySet::SETUID | CapabilitySet::SETGID));
    let mapped = |path| std::fs::read_to_string(path).is_ok_and(|map| maps(&map, STEP_ID));
    let own = rustix::process::getuid().as_raw() == STEP_ID;
    (may_change && !own && mapped("/proc/self/uid_map") && mapped("/proc/self/gid_map"))
        .then(|| StepUser { uid: Uid::from_raw(STEP_ID), gid: Gid::from_raw(STEP_ID) })
}

/// Whether a uid_map or gid_map of the kernel (lines of inside, outside, count) maps `id`.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let mut numbers = line.split_whitespace().map(|word| word.parse::<u64>().unwrap_or(0));
        let (Some(inside), Some(_), Some(count)) = (numbers.next(), numbers.next(), numbers.next()) else {
            return false;
        };
        (inside..inside.saturating_add(count)).contains(&u64::from(id))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_read_line_by_line() {
        assert!(maps("         0          0 4294967295\n", 1000));
        assert!(maps("0 100000 1\n1000 101000 1\n", 1000));
        assert!(!maps("0 100000 1\n", 1000));
        assert!(!maps("0 100000 1000\n", 1000));
        assert!(!maps("0 1000 1\n", 1000));
        assert!(!maps("", 1000));
    }
}
