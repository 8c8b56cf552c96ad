//! File access as Landlock restricts it: a second wall behind the mounts, with the same plan.

use std::io;

use landlock::{
    ABI, Access, AccessFs, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr, RulesetStatus, Scope,
};

/// The newest rules that are asked for; older kernels enforce what they know of them.
const NEWEST: ABI = ABI::V6;
/// The oldest that count as a layer at all: the first that knows all about writing.
const OLDEST: ABI = ABI::V3;

/// Places that are read and run.
const READ: [&str; 1] = ["/"];
/// Places that are written too.
const WRITE: [&str; 5] = ["/workspace", "/home/step", "/tmp", "/dev/shm", "/dev/pts"];
/// Where only existing files are written: devices. What of /proc can be written acts on the guest or the kernel.
const WRITE_FILES: [&str; 1] = ["/dev"];

/// Restricts this process and all that it starts.
pub(super) fn restrict() -> io::Result<()> {
    let status = rules()?.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced || !status.no_new_privs {
        return Err(io::Error::other("the kernel did not enforce the rules"));
    }
    Ok(())
}

/// Whether the kernel enforces enough for Landlock to count.
pub(super) fn is_available() -> bool {
    Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(OLDEST))
        .and_then(Ruleset::create)
        .is_ok()
}

fn rules() -> io::Result<RulesetCreated> {
    let read = AccessFs::from_read(NEWEST);
    let write_files = read | AccessFs::WriteFile | AccessFs::Truncate | AccessFs::IoctlDev;
    // Making device nodes is never allowed; the rest of what the kernel knows is, where the step may write.
    let devices = AccessFs::MakeChar | AccessFs::MakeBlock;
    let write = AccessFs::from_all(NEWEST) & !devices;
    let mut rules = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(Scope::AbstractUnixSocket))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    for (paths, access) in [(&READ[..], read), (&WRITE[..], write), (&WRITE_FILES[..], write_files)] {
        for path in paths {
            let path = PathFd::new(path).map_err(io::Error::other)?;
            rules = rules.add_rule(PathBeneath::new(path, access)).map_err(io::Error::other)?;
        }
    }
    Ok(rules)
}
