//! The guest's loop: one thread, one poll, messages of the worker on one side and the step on the other.
//!
//! A loop of our own rather than an asynchronous runtime: the first process of a sandbox forks, reaps and is killed,
//! which threads and wakers only complicate; the order of what happens is the order of this file; it starts at once and
//! is a third of the size.

use std::io;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::broker::Sealed;
use protocol::frame::{FRAME_VERSION, FailureKind, FromGuest, StartStep, ToGuest};
use rustix::event::PollFlags;
use seal::payload::Kind;
use seal::{GuestKey, Payload, PublicKey};

use crate::channel::{Channel, Gone};
use crate::failure::Failure;
use crate::harden::{self, Restrictions};
use crate::interests::{Interests, Source};
use crate::lambda::Terms;
use crate::network::{Network, Reach};
use crate::options::Options;
use crate::redact::{Patterns, Secret};
use crate::step::{Step, kill_tree};
use crate::workspace::{Wanted, Workspace};
use crate::{layers, network, sys};

/// Bytes of a descriptor of signals that are read at once.
const SIGNAL_BYTES: usize = 1024;

/// Why the guest ends.
pub(crate) enum End {
    /// The worker is gone, or asked for the end.
    Gone,
    /// It cannot go on; the worker was told.
    Failed,
}

impl From<Gone> for End {
    fn from(_: Gone) -> Self {
        End::Gone
    }
}

/// The first process of a sandbox.
pub(crate) struct Guest {
    channel: Channel,
    signals: OwnedFd,
    key: Option<GuestKey>,
    restrictions: Restrictions,
    workspace: Workspace,
    patterns: Rc<Patterns>,
    step: Option<Step>,
    network: Network,
    /// Whether loopback is all there is of a network, so that it is the sandbox's own.
    isolated: bool,
    /// What must not be reachable; `None` where the sandbox's maker does not ask.
    closed: Option<Vec<std::net::SocketAddr>>,
    /// What the step is held to in a Lambda function.
    terms: Option<Terms>,
}

/// How handling a message went wrong.
enum Trouble {
    Gone,
    Failed(Failure),
}

impl From<Failure> for Trouble {
    fn from(failure: Failure) -> Self {
        Trouble::Failed(failure)
    }
}

impl From<Gone> for Trouble {
    fn from(_: Gone) -> Self {
        Trouble::Gone
    }
}

impl Guest {
    /// A guest that may serve a step, on a channel that is its own.
    pub(crate) fn new(channel: Channel, restrictions: Restrictions, options: &Options) -> io::Result<Self> {
        Ok(Guest {
            channel,
            signals: sys::signal_descriptor()?,
            key: None,
            workspace: Workspace::new(&options.workspace, restrictions.step_user),
            restrictions,
            patterns: Rc::new(Patterns::new(&[])),
            step: None,
            network: Network::closed(),
            isolated: false,
            closed: options.closed.clone(),
            terms: None,
        })
    }

    /// Holds the step to the terms of a Lambda function.
    pub(crate) fn under(mut self, terms: Terms) -> Self {
        self.terms = Some(terms);
        self
    }

    /// Serves until the end, and leaves no process behind.
    pub(crate) fn serve(mut self) -> End {
        let end = match self.run() {
            Ok(never) => never,
            Err(Trouble::Gone) => End::Gone,
            Err(Trouble::Failed(failure)) => {
                kill_tree();
                self.channel.send(&failure.into_frame());
                match self.channel.flush_patiently() {
                    Ok(()) => End::Failed,
                    Err(Gone) => End::Gone,
                }
            }
        };
        kill_tree();
        end
    }

    fn run(&mut self) -> Result<End, Trouble> {
        self.greet()?;
        loop {
            self.channel.flush()?;
            for (source, flags) in self.interests().wait() {
                self.on_ready(source, flags)?;
            }
            self.advance();
        }
    }

    fn greet(&mut self) -> Result<(), Trouble> {
        self.isolated = layers::is_network_isolated();
        if self.isolated && self.terms.is_none() {
            // Now rather than with the step: the kernel changes interfaces one at a time for the whole machine, so this
            // waits while others' networks come and go.
            network::prepare_loopback();
        }
        let key = GuestKey::generate()
            .map_err(|error| Failure::new(FailureKind::Isolation, format!("no key can be made: {error}")))?;
        self.channel.send(&FromGuest::Hello {
            version: FRAME_VERSION,
            public_key: key.public_bytes(),
            layers: layers::reports(&self.restrictions, &self.reach()?),
        });
        self.key = Some(key);
        Ok(())
    }

    /// What there is beyond loopback. An open network is refused where it must be closed.
    fn reach(&self) -> Result<Reach, Failure> {
        match &self.closed {
            _ if self.isolated => Ok(Reach::NoInterface),
            None if self.restrictions.offline => Ok(Reach::NoSockets),
            None => Ok(Reach::Untried),
            Some(addresses) => network::reach::require_closed(addresses),
        }
    }

    fn interests(&self) -> Interests<'_> {
        let mut interests = Interests::default();
        interests.add(Source::ChannelInput, self.channel.input(), PollFlags::IN);
        if self.channel.is_waiting() {
            interests.add(Source::ChannelOutput, self.channel.output(), PollFlags::OUT);
        }
        interests.read(Source::Signals, &self.signals);
        if let Some(step) = &self.step {
            step.interests(&self.channel, &mut interests);
        }
        self.network.interests(&self.channel, &mut interests);
        interests
    }

    fn on_ready(&mut self, source: Source, flags: PollFlags) -> Result<(), Trouble> {
        let channel = &mut self.channel;
        match source {
            Source::ChannelInput => return self.receive(),
            Source::ChannelOutput => channel.flush()?,
            Source::Signals => self.on_signals()?,
            Source::StepInput => self.step.iter_mut().for_each(|step| step.write_input(channel)),
            Source::StepOutput(place) => {
                self.step.iter_mut().for_each(|step| step.read_output(place, channel))
            }
            Source::Resolver
            | Source::ResolverByTcp
            | Source::Asking(_)
            | Source::Listener(_)
            | Source::Tunnel(_) => {
                self.network.on_ready(source, flags, channel);
            }
        }
        Ok(())
    }

    fn on_signals(&mut self) -> Result<(), Trouble> {
        let mut info = [0; SIGNAL_BYTES];
        let bytes = rustix::io::read(&self.signals, &mut info).unwrap_or(0);
        if sys::orders_end(&info[..bytes]) {
            return Err(Trouble::Gone);
        }
        match &mut self.step {
            Some(step) => step.reap(),
            // Before the step there is no child; a reaper of others' orphans stays one.
            None => while matches!(sys::reap(), sys::Reap::Ended(_)) {},
        }
        Ok(())
    }

    fn advance(&mut self) {
        if let Some(step) = &mut self.step {
            step.advance(&mut self.channel);
            if step.is_over() {
                self.network = Network::closed();
            }
        }
    }

    fn receive(&mut self) -> Result<(), Trouble> {
        self.channel.receive()?;
        loop {
            match self.channel.take() {
                Ok(Some(message)) => self.on_message(message)?,
                Ok(None) => return Ok(()),
                Err(error) => return Err(Failure::protocol(error).into()),
            }
        }
    }

    fn on_message(&mut self, message: ToGuest) -> Result<(), Trouble> {
        let channel = &mut self.channel;
        match (message, &mut self.step) {
            (ToGuest::PutFile { path, mode }, None) => self.workspace.put(&path, mode)?,
            (ToGuest::PutData { data, last }, None) => self.workspace.put_data(&data, last)?,
            (ToGuest::Start(mut start), None) => self.start(&mut start)?,
            (ToGuest::PutFile { .. } | ToGuest::PutData { .. } | ToGuest::Start(_), Some(_)) => {
                return Err(Failure::protocol("files and the start come before the step, and once").into());
            }
            (ToGuest::Stdin { data }, Some(step)) => step.take_input(&data, channel)?,
            (ToGuest::OutputCredit { stream, bytes }, Some(step)) => step.grant(stream, bytes, channel),
            (ToGuest::Signal { number }, Some(step)) => step.signal(number),
            (ToGuest::Kill, _) => kill_tree(),
            // A signal may overtake the start; the worker follows it up.
            (ToGuest::Signal { .. }, None) => {}
            (ToGuest::Collect { patterns, max_file_bytes, max_total_bytes, max_files }, Some(step))
                if step.is_over() =>
            {
                let wanted = Wanted { patterns, max_file_bytes, max_total_bytes, max_files };
                self.workspace.collect(&wanted, &self.patterns, channel)?;
            }
            (ToGuest::TunnelOpened { tunnel }, _) => self.network.opened(tunnel),
            (ToGuest::TunnelData { tunnel, data }, _) => self.network.take_data(tunnel, &data, channel),
            (ToGuest::TunnelCredit { tunnel, bytes }, _) => self.network.grant(tunnel, bytes),
            (ToGuest::TunnelRefused { tunnel } | ToGuest::TunnelClose { tunnel }, _) => {
                self.network.close(tunnel)
            }
            (ToGuest::Collect { .. }, _) => {
                return Err(Failure::protocol("artifacts can be collected after the step's end only").into());
            }
            (ToGuest::Stdin { .. } | ToGuest::OutputCredit { .. }, None) => {
                return Err(Failure::protocol("there is no step yet").into());
            }
        }
        Ok(())
    }

    fn start(&mut self, start: &mut StartStep) -> Result<(), Failure> {
        if self.workspace.is_putting() {
            return Err(Failure::protocol("the step starts before a file is complete"));
        }
        self.terms.as_ref().map_or(Ok(()), |terms| terms.hold(start))?;
        let payload = self.open_identity(start)?;
        let secrets: Vec<Secret<'_>> = payload
            .iter()
            .flat_map(Payload::entries)
            .filter(|entry| entry.kind() == Kind::Secret)
            .map(|entry| Secret { name: entry.name(), value: entry.value() })
            .collect();
        self.patterns = Rc::new(Patterns::new(&secrets));
        self.workspace.hand_over()?;
        if self.terms.is_none() {
            self.network = Network::open(&start.network, &self.patterns, self.isolated)?;
        }
        let step = Step::start(start, payload.as_ref(), &self.patterns, &self.restrictions)?;
        harden::restrict_after_start();
        self.channel.send(&FromGuest::Started { pid: step.pid() });
        self.step = Some(step);
        Ok(())
    }

    /// Opens the sealed identity, with the key that is used for nothing else and wiped here.
    fn open_identity(&mut self, start: &StartStep) -> Result<Option<Payload>, Failure> {
        let key = self.key.take();
        let Some(sealed) = &start.sealed else { return Ok(None) };
        let refused = |reason: &dyn std::fmt::Display| {
            Failure::new(FailureKind::Sealed, format!("the sealed identity was refused: {reason}"))
        };
        let (Some(key), Some(broker), Some(attempt)) = (key, &start.broker_key, start.attempt) else {
            return Err(refused(&"the broker's key or the attempt is missing"));
        };
        let sealed: Sealed = serde_json::from_str(sealed).map_err(|_| refused(&"it is malformed"))?;
        let broker = PublicKey::from_bytes(broker).map_err(|error| refused(&error))?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        seal::sealed::open(&key, &sealed, &broker, attempt, now.cast_signed())
            .map(Some)
            .map_err(|error| refused(&error))
    }
}
