//! Runs one command in a sandbox and gathers what it said.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use protocol::frame::{StartStep, StepLimits, Stream};
use protocol::id::AttemptId;
use protocol::step::NetworkRule;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::egress::{Denial, Dialer, Egress, OperatorPolicy};
use crate::session::{Control, Exit, Stdin, StepEvent};
use crate::{HOME, PATH, SandboxError, Session, WORKSPACE};

/// Events that wait for the gatherer.
const EVENTS: usize = 16;

/// A sealed identity, as the worker gets it from the broker.
pub struct Identity {
    /// JSON of [`protocol::broker::Sealed`].
    pub sealed: String,
    /// Public key of the broker that signed it.
    pub broker_key: [u8; 32],
    /// The attempt that it is bound to.
    pub attempt: AttemptId,
}

/// A command to run.
pub struct Step {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its environment.
    pub environment: BTreeMap<String, String>,
    /// Its working directory.
    pub directory: String,
    /// Its standard input.
    pub stdin: Stdin,
    /// Its sealed identity.
    pub identity: Option<Identity>,
    /// Where it may connect.
    pub network: Vec<NetworkRule>,
    /// How it is resolved, and what of it the operator allows to be private.
    pub dialer: Dialer,
    /// Whether it gets a terminal.
    pub terminal: bool,
    /// Limits of its processes.
    pub limits: StepLimits,
    /// The longest it may take.
    pub deadline: Duration,
    /// Ends it early.
    pub cancel: CancellationToken,
}

impl Step {
    /// A program with arguments, a usual environment, no input, no network, 20 seconds.
    pub fn new<S: Into<String>>(argv: impl IntoIterator<Item = S>) -> Self {
        let environment = [("HOME", HOME), ("PATH", PATH), ("LANG", "C.UTF-8")];
        Self {
            argv: argv.into_iter().map(Into::into).collect(),
            environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            directory: WORKSPACE.to_owned(),
            stdin: Stdin::Empty,
            identity: None,
            network: Vec::new(),
            dialer: Dialer::new(OperatorPolicy::default()),
            terminal: false,
            limits: StepLimits::default(),
            deadline: Duration::from_secs(20),
            cancel: CancellationToken::new(),
        }
    }

    /// A shell script.
    pub fn shell(script: &str) -> Self {
        Self::new(["sh", "-c", script])
    }

    /// With these bytes on standard input.
    #[must_use]
    pub fn with_stdin(mut self, bytes: impl Into<Bytes>) -> Self {
        self.stdin = Stdin::Bytes(bytes.into());
        self
    }

    /// With a limit of time.
    #[must_use]
    pub fn within(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// The frame that starts it, and what controls it.
    pub fn into_parts(self) -> (StartStep, Stdin, Control) {
        let (sealed, broker_key, attempt) = match self.identity {
            Some(Identity { sealed, broker_key, attempt }) => (Some(sealed), Some(broker_key), Some(attempt)),
            None => (None, None, None),
        };
        let start = StartStep {
            argv: self.argv,
            environment: self.environment,
            directory: self.directory,
            sealed,
            broker_key,
            attempt,
            network: self.network.clone(),
            terminal: self.terminal,
            limits: self.limits,
        };
        let control = Control {
            egress: Egress::new(self.network, self.dialer),
            cancel: self.cancel,
            grace: Duration::from_secs(1),
            deadline: self.deadline,
        };
        (start, self.stdin, control)
    }
}

/// What a step did.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub exit: Result<Exit, SandboxError>,
    /// What it wrote to standard output.
    pub stdout: Vec<u8>,
    /// What it wrote to standard error.
    pub stderr: Vec<u8>,
    /// Where it was refused a connection.
    pub denied: Vec<Denial>,
}

impl Ran {
    /// Standard output as text, without the white space around it.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim().to_owned()
    }

    /// Exit code, if it ended by itself.
    pub fn code(&self) -> Option<i32> {
        match self.exit {
            Ok(Exit { status: crate::session::ExitStatus::Code(code), .. }) => Some(code),
            _ => None,
        }
    }
}

/// Runs `step` in `session` and gathers everything it says.
pub async fn run(session: &mut Session, step: Step) -> Ran {
    let (start, stdin, control) = step.into_parts();
    let (events, mut said) = mpsc::channel(EVENTS);
    let gather = async {
        let (mut stdout, mut stderr, mut denied) = (Vec::new(), Vec::new(), Vec::new());
        while let Some(event) = said.recv().await {
            match event {
                StepEvent::Started => {}
                StepEvent::Output(Stream::Stdout, data) => stdout.extend_from_slice(&data),
                StepEvent::Output(Stream::Stderr, data) => stderr.extend_from_slice(&data),
                StepEvent::Denied(denial) => denied.push(denial),
            }
        }
        (stdout, stderr, denied)
    };
    let (exit, (stdout, stderr, denied)) = tokio::join!(session.run(start, stdin, events, control), gather);
    Ran { exit, stdout, stderr, denied }
}
