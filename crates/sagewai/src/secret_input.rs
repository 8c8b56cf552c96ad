//! Secrets come from a prompt without echo, from standard input or from a file; never from the command line, which every
//! user of the machine can read.

use std::io::{self, BufRead, IsTerminal, Read, Write};
use std::path::Path;

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// Bytes of a secret value.
const SECRET_LIMIT_BYTES: u64 = 64 << 10;

/// Asks at the terminal, without echo.
///
/// # Errors
/// There is no terminal.
pub(crate) fn ask(prompt: &str) -> io::Result<Zeroizing<String>> {
    let mut terminal = std::fs::OpenOptions::new().read(true).write(true).open("/dev/tty")?;
    let quiet = Quiet::new(terminal.try_clone()?)?;
    terminal.write_all(prompt.as_bytes())?;
    let mut line = Zeroizing::new(String::new());
    let read = io::BufReader::with_capacity(256, terminal.try_clone()?).read_line(&mut line);
    drop(quiet);
    terminal.write_all(b"\n")?;
    if read? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let without_break = line.trim_end_matches(['\n', '\r']).len();
    line.truncate(without_break);
    Ok(line)
}

/// No echo while it lives.
struct Quiet {
    terminal: std::fs::File,
    before: Termios,
}

impl Quiet {
    fn new(terminal: std::fs::File) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&terminal, OptionalActions::Flush, &quiet)?;
        Ok(Quiet { terminal, before })
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        let _ = tcsetattr(&self.terminal, OptionalActions::Flush, &self.before);
    }
}

/// A secret value: of a file, of standard input, or asked for twice.
pub(crate) fn value(name: &str, stdin: bool, file: Option<&Path>) -> Result<Zeroizing<Vec<u8>>, Failure> {
    if let Some(path) = file {
        let source = std::fs::File::open(path).map_err(|error| Failure::file("read", path, &error))?;
        return read_all(source, path);
    }
    if stdin {
        return read_all(io::stdin().lock(), Path::new("standard input"));
    }
    if !io::stdin().is_terminal() {
        return Err(
            Failure::usage("there is no terminal to ask for the value").hint("use --stdin or --file FILE")
        );
    }
    let first = asked(&format!("Value of {name}: "))?;
    let second = asked("Once more: ")?;
    if *first != *second {
        return Err(Failure::usage("the two values differ; nothing was changed")
            .hint("try again, or use --stdin or --file FILE"));
    }
    Ok(Zeroizing::new(first.as_bytes().to_vec()))
}

/// A new passphrase, asked for twice.
pub(crate) fn new_passphrase() -> Result<Zeroizing<String>, Failure> {
    let first = asked("New passphrase: ")?;
    let second = asked("Once more: ")?;
    if *first != *second || first.is_empty() {
        return Err(
            Failure::usage("the passphrases differ, or are empty; nothing was changed").hint("try again")
        );
    }
    Ok(first)
}

fn asked(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    ask(prompt).map_err(|error| {
        Failure::failed("failed to ask at the terminal").because(&error).hint("use --stdin or --file FILE")
    })
}

fn read_all(source: impl Read, place: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    // Room for all at once: a vector that grows leaves copies of the secret behind.
    let mut value = Zeroizing::new(Vec::with_capacity(SECRET_LIMIT_BYTES as usize + 1));
    source
        .take(SECRET_LIMIT_BYTES + 1)
        .read_to_end(&mut value)
        .map_err(|error| Failure::file("read", place, &error))?;
    if value.len() as u64 > SECRET_LIMIT_BYTES {
        return Err(Failure::usage(format!(
            "{} is larger than {} KiB",
            place.display(),
            SECRET_LIMIT_BYTES >> 10
        ))
        .hint("a secret value has at most 64 KiB"));
    }
    Ok(value)
}
