//! One process of a stack: this program again, with another subcommand.

use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::failure::Failure;
use crate::ready::Ready;

/// How long a process may take until it answers.
const READY_LIMIT: Duration = Duration::from_secs(30);
/// First and longest pause before a process is started again.
const RESTART: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A process that lived so long is started again after the first pause.
const STEADY: Duration = Duration::from_secs(30);

/// A running process, and how to start it again.
pub(super) struct Part {
    name: &'static str,
    arguments: Vec<OsString>,
    says_ready: bool,
    child: Child,
    started: Instant,
    pause: Duration,
}

impl Part {
    /// Starts a process that says when it answers, and waits for that. When it is started again it listens at the
    /// same address, also where `listen` left the port open.
    pub(super) async fn start_ready(
        name: &'static str,
        mut arguments: Vec<OsString>,
        listen_flag: &str,
        listen: &str,
        config: Option<&Path>,
    ) -> Result<(Part, Ready), Failure> {
        arguments.extend(["--ready-line".into(), listen_flag.into(), listen.into()]);
        add_config(&mut arguments, config);
        let mut child = spawn(name, &arguments, true)?;
        let ready = ready(name, &mut child).await?;
        let last =
            arguments.iter().position(|argument| argument == listen_flag).expect("it was just added") + 1;
        arguments[last] = ready.listen.clone().into();
        let part =
            Part { name, arguments, says_ready: true, child, started: Instant::now(), pause: RESTART.0 };
        Ok((part, ready))
    }

    /// Starts a process and does not wait.
    pub(super) fn start(
        name: &'static str,
        mut arguments: Vec<OsString>,
        config: Option<&Path>,
    ) -> Result<Part, Failure> {
        add_config(&mut arguments, config);
        let child = spawn(name, &arguments, false)?;
        Ok(Part { name, arguments, says_ready: false, child, started: Instant::now(), pause: RESTART.0 })
    }

    /// Waits until the process has ended.
    pub(super) async fn ended(&mut self) {
        // An error means that there is no such process to wait for: it has ended.
        let _ = self.child.wait().await;
    }

    /// Starts a process that has ended again, after a pause that grows while it does not stay up.
    pub(super) async fn start_again(&mut self) -> Result<(), Failure> {
        let status =
            self.child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
        if self.started.elapsed() > STEADY {
            self.pause = RESTART.0;
        }
        eprintln!("warning: the {} ended ({status}); it is started again in {:?}", self.name, self.pause);
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(RESTART.1);
        self.child = spawn(self.name, &self.arguments, self.says_ready)?;
        self.started = Instant::now();
        if self.says_ready
            && let Err(failure) = ready(self.name, &mut self.child).await
        {
            // It ended again, or hangs: the next round starts it once more.
            eprintln!("warning: {}", failure.message);
            let _ = self.child.start_kill();
        }
        Ok(())
    }

    /// Asks the process to end, and kills it after `limit`.
    pub(super) async fn stop(&mut self, limit: Duration) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::TERM);
        }
        if tokio::time::timeout(limit, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

fn add_config(arguments: &mut Vec<OsString>, config: Option<&Path>) {
    if let Some(config) = config {
        arguments.extend(["--config".into(), config.into()]);
    }
}

fn spawn(name: &str, arguments: &[OsString], says_ready: bool) -> Result<Child, Failure> {
    let failed = |error: std::io::Error| {
        Failure::failed(format!("failed to start the {name}"))
            .because(&error)
            .hint("check the limits: ulimit -u")
    };
    let program = std::env::current_exe().map_err(failed)?;
    let parent = std::process::id().to_string();
    Command::new(program)
        .args(arguments)
        .args(["--parent", &parent])
        .stdin(Stdio::null())
        .stdout(if says_ready { Stdio::piped() } else { Stdio::null() })
        // A process group of its own: Ctrl-C reaches this process only, which stops the others in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)
}

/// Waits for the line with which a process says that it answers.
async fn ready(name: &str, child: &mut Child) -> Result<Ready, Failure> {
    let stdout = child.stdout.take().expect("standard output is a pipe");
    let mut lines = BufReader::new(stdout).lines();
    let said = tokio::time::timeout(READY_LIMIT, lines.next_line()).await;
    let hint = "its message is above";
    match said {
        Ok(Ok(Some(line))) => serde_json::from_str(&line).map_err(|error| {
            Failure::failed(format!("the {name} said what is not known")).because(&error).hint(hint)
        }),
        Ok(_) => Err(Failure::failed(format!("the {name} did not start")).hint(hint)),
        Err(_) => {
            Err(Failure::failed(format!("the {name} did not answer within {} s", READY_LIMIT.as_secs()))
                .hint(hint))
        }
    }
}
