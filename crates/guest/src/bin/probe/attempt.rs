//! One attempt of an attack: in a process of its own, since a defence may kill it.

#![expect(unsafe_code, reason = "forks and raw system calls are what it is for")]

use std::ffi::CStr;
use std::io::Write;

/// Seconds after which an attempt is given up.
const ATTEMPT_SECONDS: u32 = 10;
/// Bytes of a line that tells of a leak, at most.
const LINE_BYTES: usize = 400;

/// Runs `attack` in a child. What it returns is how it worked; a line tells of it.
pub(crate) fn attempt(what: &str, attack: impl FnOnce() -> Option<String>) {
    drop(std::io::stdout().flush());
    // SAFETY: the probe has one thread when it makes attempts, so the child may do whatever the parent may.
    match unsafe { libc::fork() } {
        0 => {
            // SAFETY: alarm takes any number.
            unsafe { libc::alarm(ATTEMPT_SECONDS) };
            if let Some(how) = attack() {
                leaked(&format!("{what}: {how}"));
            }
            exit_at_once(0)
        }
        child if child > 0 => {
            let mut status = 0;
            // SAFETY: the pointer is to a local of the right type.
            unsafe { libc::waitpid(child, &mut status, 0) };
        }
        _ => leaked(&format!("nothing, but no process can be made for {what}")),
    }
}

/// Tells of a leak, in one write, so that no buffer holds it back.
pub(crate) fn leaked(how: &str) {
    let mut line: String =
        format!("LEAKED {how}").replace(['\n', '\r'], " ").chars().take(LINE_BYTES).collect();
    line.push('\n');
    drop(std::io::stdout().write_all(line.as_bytes()));
    drop(std::io::stdout().flush());
}

/// Ends this process without running anything else.
pub(crate) fn exit_at_once(code: i32) -> ! {
    // SAFETY: _exit takes any number and never returns.
    unsafe { libc::_exit(code) }
}

/// A word of a system call.
pub(crate) trait Word {
    fn word(self) -> usize;
}

impl Word for usize {
    fn word(self) -> usize {
        self
    }
}

impl Word for i32 {
    fn word(self) -> usize {
        self as isize as usize
    }
}

impl Word for &CStr {
    fn word(self) -> usize {
        self.as_ptr() as usize
    }
}

impl<T> Word for &[T] {
    fn word(self) -> usize {
        self.as_ptr() as usize
    }
}

/// A raw system call; `None` where it fails.
pub(crate) fn raw(number: libc::c_long, words: &[usize]) -> Option<i64> {
    let word = |at: usize| words.get(at).copied().unwrap_or(0);
    // SAFETY: the words are numbers, or pointers to memory that outlives the call; a kernel refuses or performs it.
    let result = unsafe { libc::syscall(number, word(0), word(1), word(2), word(3), word(4), word(5)) };
    (result >= 0).then_some(result)
}

/// The words of a system call, of any kinds.
macro_rules! words {
    ($($word:expr),* $(,)?) => { &[$($crate::attempt::Word::word($word)),*] };
}
pub(crate) use words;

/// Attempts a system call that must not succeed.
pub(crate) fn call(what: &str, number: libc::c_long, words: &[usize]) {
    attempt(what, || raw(number, words).map(|result| format!("returned {result}")));
}

/// Attempts to open and read a file.
pub(crate) fn can_read(path: &str) {
    use std::io::Read;
    attempt(&format!("read {path}"), || {
        let mut bytes = [0; 32];
        let read = std::fs::File::open(path).and_then(|mut file| file.read(&mut bytes)).ok()?;
        (read > 0).then(|| String::from_utf8_lossy(&bytes[..read]).into_owned())
    });
}

/// Attempts to open a file for writing.
pub(crate) fn can_write(path: &str) {
    attempt(&format!("write {path}"), || {
        std::fs::OpenOptions::new().write(true).open(path).ok().map(|_| "opened".to_owned())
    });
}

/// A child that does `act` and ends.
pub(crate) fn child(act: impl FnOnce()) -> Option<i32> {
    drop(std::io::stdout().flush());
    // SAFETY: as in `attempt`.
    match unsafe { libc::fork() } {
        0 => {
            act();
            exit_at_once(0)
        }
        child if child > 0 => Some(child),
        _ => None,
    }
}

/// The parent of this process: the guest.
pub(crate) fn guest() -> i32 {
    // SAFETY: getppid cannot fail.
    unsafe { libc::getppid() }
}
