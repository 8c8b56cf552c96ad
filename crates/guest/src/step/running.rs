//! The one step of this guest, from its start to the report of its end.

use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::frame::{FailureKind, FromGuest, MAX_DATA_BYTES, StartStep, Stream};
use rustix::event::PollFlags;
use rustix::process::Pid;
use seal::Payload;

use super::environment::Environment;
use super::output::Output;
use super::spawn::{self, Launch};
use super::stdin::Stdin;
use super::tree::kill_tree;
use crate::channel::Channel;
use crate::failure::Failure;
use crate::harden::Restrictions;
use crate::interests::{Interests, Source};
use crate::redact::Patterns;
use crate::sys::{self, Reap, Reaped};

/// How long, after the step's process has ended and all others were killed, the guest waits for their ends while nothing
/// moves: a process that hangs in the kernel must not hide the step's end for ever.
const DRAIN_LIMIT: Duration = Duration::from_secs(5);

/// A started step.
pub(crate) struct Step {
    pid: Pid,
    stdin: Stdin,
    outputs: Vec<Output>,
    deadline: Option<Instant>,
    /// How its own process ended.
    ended: Option<Reaped>,
    /// When the step last moved, or the guest last waited for the worker rather than for the step.
    moved: Instant,
    /// Of all processes that were reaped.
    cpu: Duration,
    max_rss_bytes: u64,
    childless: bool,
    reported: bool,
    buffer: Vec<u8>,
}

impl Step {
    /// Starts the step's process: its environment is the plain one and the payload's values.
    pub(crate) fn start(
        start: &StartStep,
        payload: Option<&Payload>,
        patterns: &Rc<Patterns>,
        restrictions: &Restrictions,
    ) -> Result<Self, Failure> {
        let mut environment = Environment::default();
        for (name, value) in &start.environment {
            environment.set(name, value.as_bytes())?;
        }
        for entry in payload.into_iter().flat_map(Payload::entries) {
            environment.set(entry.name(), entry.value())?;
        }
        let spawned = spawn::spawn(&Launch {
            argv: &start.argv,
            environment: &environment,
            directory: &start.directory,
            limits: start.limits,
            terminal: start.terminal,
            user: restrictions.step_user,
            offline: restrictions.offline,
        })?;
        let mut outputs = vec![Output::new(Stream::Stdout, spawned.stdout, patterns)];
        outputs.extend(spawned.stderr.map(|source| Output::new(Stream::Stderr, source, patterns)));
        let deadline = (start.limits.deadline_ms > 0)
            .then(|| Instant::now().checked_add(Duration::from_millis(start.limits.deadline_ms)));
        Ok(Step {
            pid: spawned.pid,
            stdin: Stdin::new(spawned.stdin, start.terminal),
            outputs,
            deadline: deadline.flatten(),
            ended: None,
            moved: Instant::now(),
            cpu: Duration::ZERO,
            max_rss_bytes: 0,
            childless: false,
            reported: false,
            buffer: vec![0; MAX_DATA_BYTES],
        })
    }

    /// The step's process id inside the sandbox.
    pub(crate) fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }

    /// Whether the end was reported: nothing of the step is left.
    pub(crate) fn is_over(&self) -> bool {
        self.reported
    }

    /// What the step waits for.
    pub(crate) fn interests<'a>(&'a self, channel: &Channel, interests: &mut Interests<'a>) {
        if let Some(sink) = self.stdin.wanted() {
            interests.add(Source::StepInput, sink, PollFlags::OUT);
        }
        for (place, output) in self.outputs.iter().enumerate() {
            if let Some(source) = output.wanted(channel) {
                interests.add(Source::StepOutput(place), source, PollFlags::IN);
            }
        }
        match self.ended {
            None => self.deadline.into_iter().for_each(|deadline| interests.until(deadline)),
            Some(_) if self.is_draining(channel) => interests.until(self.moved + DRAIN_LIMIT),
            Some(_) => {}
        }
    }

    /// Whether the guest waits for processes that were killed, rather than for the worker.
    fn is_draining(&self, channel: &Channel) -> bool {
        !self.reported
            && (!self.childless || self.outputs.iter().any(|output| output.wanted(channel).is_some()))
    }

    /// Standard input can be written.
    pub(crate) fn write_input(&mut self, channel: &mut Channel) {
        self.stdin.write(channel);
    }

    /// Data of the worker for standard input.
    pub(crate) fn take_input(&mut self, data: &[u8], channel: &mut Channel) -> Result<(), Failure> {
        match self.stdin.take(data, channel) {
            true => Ok(()),
            false => Err(Failure::protocol("standard input was sent beyond its credit")),
        }
    }

    /// An output stream can be read.
    pub(crate) fn read_output(&mut self, place: usize, channel: &mut Channel) {
        if let Some(output) = self.outputs.get_mut(place) {
            output.read(&mut self.buffer[..], channel);
            self.moved = Instant::now();
        }
    }

    /// The worker takes more of an output stream.
    pub(crate) fn grant(&mut self, stream: Stream, bytes: u32, channel: &mut Channel) {
        if let Some(output) = self.outputs.iter_mut().find(|output| output.stream() == stream) {
            output.grant(bytes, channel);
            self.moved = Instant::now();
        }
    }

    /// Sends a signal to the step's process group. Once its process was reaped its number may be another's.
    pub(crate) fn signal(&self, number: i32) {
        if self.ended.is_none() && (1..=64).contains(&number) {
            _ = sys::signal_group(self.pid, number);
        }
    }

    /// Reaps what has ended. When the step's own process has, everything else is killed: what it left in the
    /// background may hold its streams open, and ends with it.
    pub(crate) fn reap(&mut self) {
        loop {
            match sys::reap() {
                Reap::Living => break,
                Reap::Childless => {
                    self.childless = true;
                    return;
                }
                Reap::Ended(reaped) => {
                    self.cpu += reaped.cpu;
                    self.max_rss_bytes = self.max_rss_bytes.max(reaped.max_rss_bytes);
                    if reaped.pid == self.pid && self.ended.is_none() {
                        self.ended = Some(reaped);
                        self.moved = Instant::now();
                    }
                }
            }
        }
        self.childless = false;
        if self.ended.is_some() {
            kill_tree();
        }
    }

    /// Moves on what needs no event: output that waits for room, the deadline, the report of the end.
    pub(crate) fn advance(&mut self, channel: &mut Channel) {
        self.outputs.iter_mut().for_each(|output| output.pump(channel));
        if self.ended.is_none() && self.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            self.deadline = None;
            let message = "the step passed its deadline and was killed";
            channel.send(&Failure::new(FailureKind::Deadline, message).into_frame());
            kill_tree();
        }
        let Some(reaped) = self.ended else { return };
        if !self.is_draining(channel) {
            self.moved = Instant::now();
        } else if self.moved.elapsed() >= DRAIN_LIMIT {
            self.childless = true;
            self.outputs.iter_mut().for_each(Output::end);
            self.outputs.iter_mut().for_each(|output| output.pump(channel));
        }
        if !self.reported && self.childless && self.outputs.iter().all(Output::is_done) {
            self.reported = true;
            channel.send(&FromGuest::Exited {
                code: reaped.code,
                signal: reaped.signal,
                max_rss_bytes: self.max_rss_bytes,
                cpu_us: u64::try_from(self.cpu.as_micros()).unwrap_or(u64::MAX),
            });
        }
    }
}
