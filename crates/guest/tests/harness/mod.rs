//! Plays the worker's side: starts the built guest and speaks frames with it over pipes.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};

use protocol::frame::codec::{Decoder, encode};
use protocol::frame::{FailureKind, FromGuest, LayerReport, StartStep, StepLimits, Stream, ToGuest};

/// A user without rights.
const NOBODY: u32 = 65534;

/// A guest under test. Dropping it closes the channel, which ends it and all that it started.
pub(crate) struct Guest {
    pub(crate) child: Child,
    stdin: Option<ChildStdin>,
    stdout: ChildStdout,
    decoder: Decoder,
    pub(crate) workspace: tempfile::TempDir,
    pub(crate) public_key: [u8; 32],
    pub(crate) layers: Vec<LayerReport>,
    /// Whether output is credited as it comes.
    pub(crate) credits: bool,
}

/// How a step ended, with all its output.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) failed: Option<(FailureKind, String)>,
    pub(crate) denied: Vec<String>,
    pub(crate) max_rss_bytes: u64,
    pub(crate) cpu_us: u64,
}

/// A plain step.
pub(crate) fn step(argv: &[&str]) -> StartStep {
    StartStep {
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
        environment: BTreeMap::from([(
            "PATH".to_owned(),
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        )]),
        directory: "/".into(),
        sealed: None,
        broker_key: None,
        attempt: None,
        network: Vec::new(),
        terminal: false,
        limits: StepLimits { deadline_ms: 60_000, ..StepLimits::default() },
    }
}

/// A step of one line of shell.
pub(crate) fn shell(line: &str) -> StartStep {
    step(&["/bin/sh", "-c", line])
}

impl Guest {
    /// A guest in a process of its own, without namespaces.
    pub(crate) fn plain() -> Self {
        Guest::with(Command::new(env!("CARGO_BIN_EXE_guest")))
    }

    /// A guest as a normal user: without capabilities, and its step shares its user. `None` where the tests' own user
    /// cannot start it so.
    pub(crate) fn unprivileged() -> Option<Self> {
        use std::os::unix::process::CommandExt;
        let mut command = Command::new(env!("CARGO_BIN_EXE_guest"));
        if rustix::process::getuid().is_root() {
            command.uid(NOBODY).gid(NOBODY).arg("--workspace").arg("/");
            let possible = command.stdin(Stdio::null()).stdout(Stdio::null()).status();
            if possible.is_err() {
                eprintln!("skipped: a normal user may not run {}", env!("CARGO_BIN_EXE_guest"));
                return None;
            }
            command = Command::new(env!("CARGO_BIN_EXE_guest"));
            command.uid(NOBODY).gid(NOBODY);
        }
        Some(Guest::with(command))
    }

    /// A guest as root that may neither change its user nor empty its bounding set, as in a container that drops some
    /// capabilities. `None` where that cannot be made.
    pub(crate) fn half_privileged() -> Option<Self> {
        let flags = ["--bounding-set", "-setpcap,-setuid,-setgid", "--inh-caps", "-all"];
        let possible = Command::new("setpriv").args(flags).arg("true").stderr(Stdio::null()).status();
        if !rustix::process::getuid().is_root() || !possible.is_ok_and(|status| status.success()) {
            eprintln!("skipped: `setpriv {}` is not possible here", flags.join(" "));
            return None;
        }
        let mut command = Command::new("setpriv");
        command.args(flags).arg(env!("CARGO_BIN_EXE_guest"));
        Some(Guest::with(command))
    }

    /// A guest as process 1 of namespaces of its own, or `None` where they may not be made.
    pub(crate) fn in_namespaces() -> Option<Self> {
        let flags = ["-U", "-r", "-p", "-f", "--mount-proc", "-n", "-i", "-u"];
        let possible = Command::new("unshare").args(flags).arg("true").stderr(Stdio::null()).status();
        if !possible.is_ok_and(|status| status.success()) {
            eprintln!("skipped: `unshare {}` is not possible here", flags.join(" "));
            return None;
        }
        let mut command = Command::new("unshare");
        command.args(flags).args(["--kill-child", env!("CARGO_BIN_EXE_guest")]);
        Some(Guest::with(command))
    }

    fn with(mut command: Command) -> Self {
        let workspace = tempfile::tempdir().expect("a folder for the workspace");
        // The step may run as another user.
        open_to_all(workspace.path());
        let mut child = command
            .arg("--workspace")
            .arg(workspace.path())
            .env("INHERITED_BY_THE_GUEST", "yes")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the guest starts");
        let mut guest = Guest {
            stdin: child.stdin.take(),
            stdout: child.stdout.take().expect("piped"),
            child,
            decoder: Decoder::new(),
            workspace,
            public_key: [0; 32],
            layers: Vec::new(),
            credits: true,
        };
        match guest.next() {
            Some(FromGuest::Hello { version, public_key, layers }) => {
                assert_eq!(version, protocol::frame::FRAME_VERSION);
                guest.public_key = public_key;
                guest.layers = layers;
            }
            _ => panic!("the first frame is no Hello"),
        }
        guest
    }

    /// Sends a frame.
    pub(crate) fn send(&mut self, message: &ToGuest) {
        let mut bytes = Vec::new();
        encode(message, &mut bytes).expect("it fits");
        self.send_bytes(&bytes);
    }

    /// Sends anything. A guest that is gone takes nothing.
    pub(crate) fn send_bytes(&mut self, bytes: &[u8]) {
        drop(self.stdin.as_mut().expect("open").write_all(bytes));
    }

    /// Closes the worker's end.
    pub(crate) fn close(&mut self) {
        self.stdin = None;
    }

    /// The next frame; `None` at the channel's end.
    pub(crate) fn next(&mut self) -> Option<FromGuest> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            if let Some(frame) = self.decoder.take().expect("the guest's frames are well-formed") {
                return Some(frame);
            }
            match self.stdout.read(&mut buffer).expect("a pipe can be read") {
                0 => return None,
                bytes => self.decoder.feed(&buffer[..bytes]),
            }
        }
    }

    /// Starts a step and waits until it runs.
    pub(crate) fn start(&mut self, step: StartStep) -> u32 {
        self.send(&ToGuest::Start(Box::new(step)));
        match self.next() {
            Some(FromGuest::Started { pid }) => pid,
            Some(FromGuest::Failed { kind, message }) => panic!("{kind:?}: {message}"),
            _ => panic!("the step did not start"),
        }
    }

    /// Starts a step that cannot start.
    pub(crate) fn start_failing(&mut self, step: StartStep) -> (FailureKind, String) {
        self.send(&ToGuest::Start(Box::new(step)));
        self.next_failure()
    }

    /// The failure that comes next.
    pub(crate) fn next_failure(&mut self) -> (FailureKind, String) {
        loop {
            match self.next() {
                Some(FromGuest::Failed { kind, message }) => return (kind, message),
                Some(FromGuest::StdinCredit { .. }) => {}
                _ => panic!("it did not fail"),
            }
        }
    }

    /// Runs a step to its end, with `input` on its standard input.
    pub(crate) fn run(&mut self, step: StartStep, input: &[u8]) -> Ended {
        self.start(step);
        for data in input.chunks(1 << 15) {
            self.send(&ToGuest::Stdin { data: data.to_vec() });
        }
        self.send(&ToGuest::Stdin { data: Vec::new() });
        self.finish()
    }

    /// Takes frames to the step's end.
    pub(crate) fn finish(&mut self) -> Ended {
        let (mut ended, mut stdout, mut stderr) = (Ended::default(), Vec::new(), Vec::new());
        loop {
            match self.next().expect("the guest goes on until the step's end") {
                FromGuest::Output { stream, data } => {
                    if self.credits {
                        self.send(&ToGuest::OutputCredit { stream, bytes: data.len() as u32 });
                    }
                    let sink = if stream == Stream::Stdout { &mut stdout } else { &mut stderr };
                    sink.extend_from_slice(&data);
                }
                FromGuest::Failed { kind, message } => {
                    assert_eq!(kind, FailureKind::Deadline, "{message}");
                    ended.failed = Some((kind, message));
                }
                FromGuest::Denied { host, .. } => ended.denied.push(host),
                FromGuest::Exited { code, signal, max_rss_bytes, cpu_us } => {
                    (ended.code, ended.signal) = (code, signal);
                    (ended.max_rss_bytes, ended.cpu_us) = (max_rss_bytes, cpu_us);
                    ended.stdout = String::from_utf8_lossy(&stdout).into_owned();
                    ended.stderr = String::from_utf8_lossy(&stderr).into_owned();
                    return ended;
                }
                _ => {}
            }
        }
    }

    /// Waits for the guest's own end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        while self.next().is_some() {}
        self.child.wait().expect("it is ours")
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.stdin = None;
        drop(self.child.wait());
    }
}

fn open_to_all(path: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).expect("our own folder");
}

/// The attacking program.
pub(crate) fn probe_program() -> std::path::PathBuf {
    env!("CARGO_BIN_EXE_probe").into()
}

/// A step of the attacking program.
pub(crate) fn probe(arguments: &[&str]) -> StartStep {
    let program = probe_program();
    let mut argv = vec![program.to_str().expect("UTF-8")];
    argv.extend(arguments);
    step(&argv)
}
