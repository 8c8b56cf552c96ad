//! Runs the one step of a session: a loop over hostile frames, credits, the caller's streams and tunnels.

use std::time::Duration;

use bytes::Bytes;
use protocol::frame::codec::encode;
use protocol::frame::{
    FailureKind, FromGuest, MAX_DATA_BYTES, STREAM_WINDOW_BYTES, StartStep, Stream, ToGuest,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::collect::clean;
use super::credit::Credit;
use super::events::{EventQueue, MAX_DENIED_HOST_BYTES};
use super::open::{Session, State};
use super::tunnel::Tunnels;
use super::wire::Outbox;
use crate::SandboxError;
use crate::egress::{Denial, DenialReason, Egress};

/// From `Kill` until a guest that does not report the end is given up.
const KILL_LIMIT: Duration = Duration::from_secs(2);
/// Signal number of SIGTERM on Linux, as the frame protocol counts.
const SIGTERM: i32 = 15;

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
    /// On an error the step is dead or about to be: discard the session. After [`SandboxError::Cancelled`] and
    /// [`SandboxError::Deadline`] files may still be collected if the guest reported the end in time.
    pub async fn run(
        &mut self,
        start: StartStep,
        stdin: Stdin,
        events: mpsc::Sender<StepEvent>,
        control: Control,
    ) -> Result<Exit, SandboxError> {
        if self.state != State::Ready {
            return Err(SandboxError::Order("runs one step"));
        }
        self.state = State::Running;
        let start = ToGuest::Start(Box::new(start));
        if let Err(error) = encode(&start, &mut Vec::new()) {
            let message = format!("the step's arguments, environment and identity are too large: {error}");
            return Err(SandboxError::Refused { kind: FailureKind::Protocol, message });
        }
        let credit = Credit::new(STREAM_WINDOW_BYTES);
        let feeder = Feeder::new(start, stdin, self.outbox.clone(), credit.clone());
        let mut drive = Drive {
            tunnels: Tunnels::new(control.egress, self.outbox.clone()),
            queue: EventQueue::default(),
            stdin: credit,
            phase: Phase::Starting,
            stop: None,
            session: self,
            _feeder: feeder,
        };
        drive.drive(&events, &control.cancel, control.grace, Instant::now() + control.deadline).await
    }
}

/// Sends the start and standard input from a task of its own, so that a guest that does not read delays nothing else.
struct Feeder(JoinHandle<()>);

impl Feeder {
    fn new(start: ToGuest, stdin: Stdin, outbox: Outbox, credit: Credit) -> Self {
        Self(tokio::spawn(async move {
            // An error means that the channel is gone, which the reading side notices too.
            let _ = feed(start, stdin, &outbox, &credit).await;
        }))
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn feed(start: ToGuest, stdin: Stdin, outbox: &Outbox, credit: &Credit) -> Result<(), SandboxError> {
    outbox.data(start).await?;
    match stdin {
        Stdin::Empty => {}
        Stdin::Bytes(bytes) => feed_bytes(bytes, outbox, credit).await?,
        Stdin::Stream(mut chunks) => {
            while let Some(bytes) = chunks.recv().await {
                feed_bytes(bytes, outbox, credit).await?;
            }
        }
    }
    outbox.data(ToGuest::Stdin { data: Vec::new() }).await
}

async fn feed_bytes(mut bytes: Bytes, outbox: &Outbox, credit: &Credit) -> Result<(), SandboxError> {
    while !bytes.is_empty() {
        let size = credit.take(bytes.len().min(MAX_DATA_BYTES)).await;
        outbox.data(ToGuest::Stdin { data: bytes.split_to(size).into() }).await?;
    }
    Ok(())
}

/// How far the guest says the step is.
#[derive(Clone, Copy)]
enum Phase {
    Starting,
    Running,
    /// All that is left is to hand queued events to their reader.
    Exited(Exit),
}

/// The step is being ended early.
struct Stop {
    why: SandboxError,
    killed: bool,
    /// When force is used, and after that, when the guest is given up.
    next: Instant,
}

struct Drive<'a> {
    session: &'a mut Session,
    tunnels: Tunnels,
    queue: EventQueue,
    stdin: Credit,
    phase: Phase,
    stop: Option<Stop>,
    _feeder: Feeder,
}

impl Drive<'_> {
    async fn drive(
        &mut self,
        events: &mpsc::Sender<StepEvent>,
        cancel: &CancellationToken,
        grace: Duration,
        deadline: Instant,
    ) -> Result<Exit, SandboxError> {
        loop {
            if let Phase::Exited(exit) = self.phase
                && (self.queue.is_empty() || self.stop.is_some())
            {
                self.session.state = State::Exited;
                return self.stop.take().map_or(Ok(exit), |stop| Err(stop.why));
            }
            let exited = matches!(self.phase, Phase::Exited(_));
            let listening = !exited && !self.queue.is_full();
            let alarm = self.stop.as_ref().map_or(deadline, |stop| stop.next);
            tokio::select! {
                permit = events.reserve(), if !self.queue.is_empty() && !events.is_closed() => {
                    if let Ok(permit) = permit {
                        self.deliver(permit)?;
                    }
                }
                () = events.closed(), if self.stop.is_none() => self.stop(SandboxError::OutputClosed, Duration::ZERO)?,
                () = cancel.cancelled(), if self.stop.is_none() => self.stop(SandboxError::Cancelled, grace)?,
                () = sleep_until(alarm) => match self.stop.take() {
                    None => self.stop(SandboxError::Deadline, grace)?,
                    Some(stop) => self.force(stop)?,
                },
                frame = self.session.frames.next(), if listening && !self.tunnels.is_full() => {
                    let frame = frame?.ok_or(SandboxError::Ended(None))?;
                    self.accept(frame)?;
                }
                () = self.tunnels.drained(), if listening && self.tunnels.is_full() => {}
                Some(denial) = self.tunnels.ended(), if !exited => self.queue.denied(denial),
            }
        }
    }

    /// Hands one event to the reader, and what that frees to the guest.
    fn deliver(&mut self, permit: mpsc::Permit<'_, StepEvent>) -> Result<(), SandboxError> {
        let Some(event) = self.queue.pop() else { return Ok(()) };
        let output = match &event {
            StepEvent::Output(stream, data) => Some((*stream, data.len())),
            StepEvent::Started | StepEvent::Denied(_) => None,
        };
        permit.send(event);
        let grant = output.and_then(|(stream, bytes)| self.queue.consumed(stream, bytes));
        match grant {
            Some((stream, bytes)) if !matches!(self.phase, Phase::Exited(_)) => {
                self.session.outbox.control(ToGuest::OutputCredit { stream, bytes })
            }
            _ => Ok(()),
        }
    }

    /// Begins to end the step: politely if there is a grace. One that has not started ends with its sandbox.
    fn stop(&mut self, why: SandboxError, grace: Duration) -> Result<(), SandboxError> {
        if matches!(self.phase, Phase::Starting) {
            return Err(why);
        }
        let polite = !grace.is_zero();
        let frame = if polite { ToGuest::Signal { number: SIGTERM } } else { ToGuest::Kill };
        self.session.outbox.control(frame)?;
        let next = Instant::now() + if polite { grace } else { KILL_LIMIT };
        self.stop = Some(Stop { why, killed: !polite, next });
        Ok(())
    }

    fn force(&mut self, stop: Stop) -> Result<(), SandboxError> {
        if stop.killed {
            return Err(stop.why);
        }
        self.session.outbox.control(ToGuest::Kill)?;
        self.stop = Some(Stop { why: stop.why, killed: true, next: Instant::now() + KILL_LIMIT });
        Ok(())
    }

    /// One frame of a guest that may be hostile, in the order that the protocol prescribes.
    fn accept(&mut self, frame: FromGuest) -> Result<(), SandboxError> {
        match (self.phase, frame) {
            (Phase::Starting, FromGuest::Started { .. }) => {
                self.phase = Phase::Running;
                self.queue.started();
                Ok(())
            }
            (Phase::Running, FromGuest::Failed { kind: FailureKind::Deadline, .. }) => {
                let next = Instant::now() + KILL_LIMIT;
                self.stop.get_or_insert(Stop { why: SandboxError::Deadline, killed: true, next });
                Ok(())
            }
            (_, FromGuest::Failed { kind, message }) => Err(match self.stop.take() {
                Some(stop) => stop.why,
                None => SandboxError::Refused { kind, message: clean(&message, MAX_MESSAGE_BYTES) },
            }),
            (Phase::Running, FromGuest::Output { stream, data }) => self.queue.output(stream, data),
            (Phase::Running, FromGuest::Exited { code, signal, max_rss_bytes, cpu_us }) => {
                let status = match (code, signal) {
                    (Some(code), None) => ExitStatus::Code(code),
                    (None, Some(signal)) => ExitStatus::Signal(signal),
                    _ => return Err(breach("an exit is neither by code nor by signal")),
                };
                self.phase =
                    Phase::Exited(Exit { status, max_rss_bytes, cpu: Duration::from_micros(cpu_us) });
                Ok(())
            }
            (_, FromGuest::StdinCredit { bytes }) => {
                self.stdin.grant(bytes);
                Ok(())
            }
            (Phase::Running, FromGuest::TunnelOpen { tunnel, host, port }) => {
                self.tunnels.open(tunnel, host, port)
            }
            (Phase::Running, FromGuest::TunnelData { tunnel, data }) => self.tunnels.data(tunnel, data),
            (Phase::Running, FromGuest::TunnelCredit { tunnel, bytes }) => {
                self.tunnels.credit(tunnel, bytes);
                Ok(())
            }
            (Phase::Running, FromGuest::TunnelClose { tunnel }) => {
                self.tunnels.close(tunnel);
                Ok(())
            }
            (Phase::Running, FromGuest::Denied { host, port }) => {
                let host = clean(&host, MAX_DENIED_HOST_BYTES);
                self.queue.denied(Denial { host, port, reason: DenialReason::NotListed });
                Ok(())
            }
            _ => Err(breach("a frame out of place while the step runs")),
        }
    }
}

/// Bytes of a guest's sentence for the user, at most.
const MAX_MESSAGE_BYTES: usize = 2000;

fn breach(what: &str) -> SandboxError {
    SandboxError::Protocol(what.to_owned())
}
