//! The guest as an image of its own: it copies itself into a folder that it shares with the container of the step.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

/// Everyone may run it, no one may write it.
const MODE: u32 = 0o555;

/// Copies the program to `target`. By the name that it was called with: its own entry in /proc belongs to root by now.
pub(crate) fn install(program: &Path, target: &Path) -> io::Result<()> {
    fs::copy(program, target)?;
    fs::set_permissions(target, fs::Permissions::from_mode(MODE))
}
