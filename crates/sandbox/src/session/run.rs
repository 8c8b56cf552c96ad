//! Runs the one step of a session: a loop over hostile frames, credits, the caller's streams and tunnels.

use std::time::Duration;

use bytes::Bytes;
use protocol::frame::{StartStep, Stream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::open::Session;
use crate::SandboxError;
use crate::egress::{Denial, Egress};

/// What the step reads on standard input.
pub enum Stdin {
    /// End of input at once.
    Empty,
    /// These bytes, then end of input.
    Bytes(Bytes),
    /// What comes, until the sender is dropped.
    Stream(mpsc::Receiver<Bytes>),
}

/// What a step is allowed and for how long.
pub struct Control {
    /// Where its tunnels may go.
    pub egress: Egress,
    /// Ends the step early: first politely, then by force.
    pub cancel: CancellationToken,
    /// From politely to by force.
    pub grace: Duration,
    /// The step is ended as if cancelled after this time.
    pub deadline: Duration,
}

/// What a running step does, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepEvent {
    /// Its process runs.
    Started,
    /// It wrote this; already redacted.
    Output(Stream, Bytes),
    /// It tried to reach a destination and was refused; for the run's log.
    Denied(Denial),
}

/// How the step's process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitStatus {
    /// By itself.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

/// The end of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: ExitStatus,
    /// Largest resident set, bytes, as the guest says.
    pub max_rss_bytes: u64,
    /// CPU time, as the guest says.
    pub cpu: Duration,
}

impl Session {
    /// Starts the step and drives it to its end. `events` may be slow: the step then waits.
    ///
    /// On an error the step is dead or about to be: discard the session.
    pub async fn run(
        &mut self,
        start: StartStep,
        stdin: Stdin,
        events: mpsc::Sender<StepEvent>,
        control: Control,
    ) -> Result<Exit, SandboxError> {
        let _ = (start, stdin, events, control);
        Err(SandboxError::Order("cannot run yet"))
    }
}
