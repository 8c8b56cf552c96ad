//! A program that a test starts: its output in a file, its end with the test's.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Longest wait until a program answers, seconds.
pub const START_SECONDS: u64 = 60;

/// A running program. Dropping it kills and reaps it.
pub struct Program {
    child: Child,
    log: PathBuf,
}

impl Program {
    /// Starts it; what it prints goes to `log`.
    pub fn start(command: &mut Command, log: &Path) -> io::Result<Self> {
        let out = File::create(log)?;
        let child = command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out).spawn();
        let named = |error: io::Error| {
            io::Error::other(format!("{} does not start: {error}", command.get_program().display()))
        };
        Ok(Program { child: child.map_err(named)?, log: log.into() })
    }

    /// Waits until `ready` says so. Errors hold the end of the log.
    pub fn wait_until(&mut self, mut ready: impl FnMut() -> bool) -> io::Result<()> {
        let until = Instant::now() + Duration::from_secs(START_SECONDS);
        while Instant::now() < until {
            if ready() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failed(&format!("it ended with {status}")));
            }
            sleep(Duration::from_millis(20));
        }
        Err(self.failed(&format!("it did not answer within {START_SECONDS} s")))
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    fn failed(&self, why: &str) -> io::Error {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let tail: Vec<&str> = log.lines().rev().take(15).collect();
        let tail: Vec<&str> = tail.into_iter().rev().collect();
        io::Error::other(format!("{why}; {}:\n{}", self.log.display(), tail.join("\n")))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port of loopback that is free at this moment.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Whether somebody listens.
pub fn answers(address: SocketAddr) -> bool {
    TcpStream::connect_timeout(&address, Duration::from_millis(200)).is_ok()
}

/// Runs a command to its end; its standard output, or an error with its standard error.
pub fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let program = command.get_program().display();
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(io::Error::other(format!("{program} failed: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
