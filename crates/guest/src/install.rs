//! The guest as an image of its own: it copies itself into a folder that it shares with the container of the step.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Everyone may run it, no one may write it.
const MODE: u32 = 0o555;
/// A folder beside it that only its owner enters, and the step is another user: a container runtime insists on a file of the
/// host that everyone in the container may write (the termination message), and this is where nobody finds it.
const CLOSED: &str = "closed";
/// The file's place.
const CLOSED_FILE: &str = "log";

/// Copies the program to `target`. By the name that it was called with: its own entry in /proc belongs to root by now.
pub(crate) fn install(program: &Path, target: &Path) -> io::Result<()> {
    fs::copy(program, target)?;
    fs::set_permissions(target, fs::Permissions::from_mode(MODE))?;
    let closed = target.with_file_name(CLOSED);
    fs::create_dir(&closed)?;
    fs::write(closed.join(CLOSED_FILE), "")?;
    fs::set_permissions(closed, fs::Permissions::from_mode(0o700))
}
