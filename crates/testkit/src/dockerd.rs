//! A real Docker daemon for tests: Debian's `dockerd` on a socket and with folders of its own, beside any other.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// What has to be installed.
pub const PACKAGES: [&str; 2] = ["docker.io", "busybox-static"];
/// Longest wait for a start and for an end.
const LIMIT: Duration = Duration::from_secs(60);
/// How often is looked.
const POLL: Duration = Duration::from_millis(20);

/// A daemon. Dropped, it and its containers end.
pub struct Dockerd {
    folder: PathBuf,
    arguments: Vec<String>,
    child: Child,
}

impl Dockerd {
    /// Starts it; `folder` is its own. Needs root. Errors hold the end of its log.
    pub fn start(folder: &Path) -> io::Result<Self> {
        Self::start_with(folder, &[])
    }

    /// As [`Dockerd::start`], with further arguments, such as another `--host`.
    pub fn start_with(folder: &Path, arguments: &[String]) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        std::fs::write(folder.join("daemon.json"), "{}")?;
        let child = spawn(&folder, arguments)?;
        let mut daemon = Self { folder, arguments: arguments.to_vec(), child };
        daemon.await_answer()?;
        Ok(daemon)
    }

    /// Its address, for SAGEWAI_TEST_DOCKER.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Docker's own client, talking to it.
    pub fn client(&self) -> Command {
        client(&self.host())
    }

    /// Kills the daemon as a crash would; its containers go on until it is started again.
    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// Starts it again after [`Dockerd::kill`].
    pub fn start_again(&mut self) -> io::Result<()> {
        // Its containerd died with it. Where nobody reaps orphans its process id stays taken, and would be believed.
        let _ = std::fs::remove_file(self.folder.join("exec/containerd/containerd.pid"));
        self.child = spawn(&self.folder, &self.arguments)?;
        self.await_answer()
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("docker.sock")
    }

    fn await_answer(&mut self) -> io::Result<()> {
        let started = Instant::now();
        while UnixStream::connect(self.socket()).is_err() || !responds(&self.host()) {
            let log = || {
                let log = std::fs::read_to_string(self.folder.join("dockerd.log")).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(15).collect();
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            };
            if let Some(status) = self.child.try_wait()? {
                return Err(io::Error::other(format!("dockerd ended with {status}:\n{}", log())));
            }
            if started.elapsed() > LIMIT {
                return Err(io::Error::other(format!("dockerd does not answer:\n{}", log())));
            }
            sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        // In order, so that it ends its containers; what it does not do in time is cut off.
        let pid = self.child.id().to_string();
        let _ = Command::new("kill").args(["-TERM", &pid]).status();
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < LIMIT {
            sleep(POLL);
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Docker's own client for a daemon at `host`.
pub fn client(host: &str) -> Command {
    let mut client = Command::new("docker");
    client.args(["--host", host]).stdin(Stdio::null());
    client
}

/// Runs a command to its end; its standard output, or an error with its standard error.
pub(crate) fn output(command: &mut Command) -> io::Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        let (program, said) = (command.get_program().display(), String::from_utf8_lossy(&output.stderr));
        return Err(io::Error::other(format!("{program} failed: {}", said.trim())));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn responds(host: &str) -> bool {
    client(host).arg("version").output().is_ok_and(|output| output.status.success())
}

fn spawn(folder: &Path, arguments: &[String]) -> io::Result<Child> {
    let place = |name: &str| folder.join(name).display().to_string();
    let log = std::fs::File::options().create(true).append(true).open(folder.join("dockerd.log"))?;
    Command::new("dockerd")
        .args([
            format!("--host=unix://{}", place("docker.sock")),
            format!("--data-root={}", place("data")),
            format!("--exec-root={}", place("exec")),
            format!("--pidfile={}", place("docker.pid")),
            format!("--config-file={}", place("daemon.json")),
            "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
            // Containers of tests have loopback alone; the machine's own rules stay as they are.
            "--bridge=none".to_owned(),
            "--iptables=false".to_owned(),
            "--ip-forward=false".to_owned(),
            "--log-level=warn".to_owned(),
        ])
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .map_err(|error| io::Error::other(format!("dockerd does not start: {error}")))
}
