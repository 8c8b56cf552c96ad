//! What a step finds inside every sandbox, whatever made it.

/// Folder with the step's files; its working directory unless said otherwise.
pub const WORKSPACE: &str = "/workspace";
/// Home folder of the step, empty and writable, wiped with the sandbox.
pub const HOME: &str = "/home/step";
/// User and group of the step inside the sandbox, where it is not the guest's own.
pub const STEP_ID: u32 = 1000;
/// Where programs are looked up if nothing else is said.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
