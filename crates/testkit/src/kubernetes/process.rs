//! Processes of a cluster: each writes a log, is waited for, and ends with whoever started it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// The longest a process may take to serve.
pub(super) const START_LIMIT: Duration = Duration::from_secs(120);
/// The longest a process may take to end when asked to.
const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Pause between two looks.
pub(super) const LOOK: Duration = Duration::from_millis(100);
/// Bytes of the end of a log that are shown with an error.
const SHOWN_BYTES: i64 = 2000;

/// A process that was started.
pub(super) struct Running {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Starts `program`, its output in `FOLDER/NAME.log`. It is told to end when the thread that called this ends.
    pub(super) fn start(
        name: &str,
        folder: &Path,
        program: &Path,
        arguments: impl IntoIterator<Item = String>,
        environment: &[(&str, &str)],
    ) -> io::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output = File::create(&log)?;
        let child = Command::new("setpriv")
            .args(["--pdeathsig", "TERM", "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .map_err(|error| io::Error::other(format!("failed to start {name} by setpriv: {error}")))?;
        Ok(Self { name: name.to_owned(), child, log })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `serves` says so; an error shows the end of the log.
    pub(super) fn await_until(&mut self, mut serves: impl FnMut() -> bool) -> io::Result<()> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Err(self.failure(&format!("ended with {status}")));
            }
            if serves() {
                return Ok(());
            }
            if began.elapsed() > START_LIMIT {
                return Err(self.failure(&format!("does not serve after {START_LIMIT:?}")));
            }
            thread::sleep(LOOK);
        }
    }

    fn failure(&self, what: &str) -> io::Error {
        let shown = tail(&self.log).unwrap_or_default();
        io::Error::other(format!("{} {what}; the end of {}:\n{shown}", self.name, self.log.display()))
    }

    /// Asks it to end, waits, and kills it if it does not.
    pub(super) fn stop(mut self) {
        _ = Command::new("kill").arg(self.child.id().to_string()).status();
        let began = Instant::now();
        while let Ok(None) = self.child.try_wait() {
            if began.elapsed() > STOP_LIMIT {
                _ = self.child.kill();
                break;
            }
            thread::sleep(LOOK);
        }
        _ = self.child.wait();
    }
}

fn tail(log: &Path) -> io::Result<String> {
    let mut file = File::open(log)?;
    let length = file.metadata()?.len().cast_signed();
    file.seek(SeekFrom::End(-SHOWN_BYTES.min(length)))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// A port of loopback that nobody listens on now.
pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

/// Whether someone listens on that port of loopback.
pub(super) fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Runs a command to its end; an error shows what it wrote.
pub(super) fn run(command: &mut Command) -> io::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .map_err(|error| io::Error::other(format!("failed to start {program}: {error}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(io::Error::other(format!("{program} ended with {}:\n{said}", output.status)))
}
