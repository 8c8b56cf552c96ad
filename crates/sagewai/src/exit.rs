//! Exit codes, all of them. Scripts may rely on them.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// It did what was asked; a followed run completed.
    Ok = 0,
    /// A followed run faulted or was cancelled; a check of `doctor` failed.
    Faulted = 1,
    /// The command line or the configuration is wrong.
    Usage = 2,
    /// The server or the broker cannot be reached, or cannot work now.
    Unreachable = 3,
    /// The token is missing, unknown, or may not do it; the broker refused.
    Refused = 4,
    /// There is nothing of that name.
    NotFound = 5,
    /// The document or the request is not valid.
    Invalid = 6,
    /// The state of the resource does not allow it.
    Conflict = 7,
    /// Something failed here: a file, a process, a fault of the program.
    Failed = 8,
    /// Ctrl-C.
    Interrupted = 130,
}

/// The end of `sagewai --help`.
pub(crate) fn help(before: &str) -> String {
    format!("{before}\n\n{TABLE}")
}

/// The table that `sagewai --help` ends with.
const TABLE: &str = "\
Exit codes:
  0  done; a followed run completed
  1  a followed run faulted or was cancelled; a check of doctor failed
  2  wrong command line or configuration
  3  server or broker cannot be reached
  4  refused: no token, an unknown one, or one that may not do it
  5  nothing of that name
  6  the document or the request is not valid
  7  the state does not allow it
  8  something failed here: a file, a process
  130  interrupted";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        ExitCode::from(exit as u8)
    }
}
