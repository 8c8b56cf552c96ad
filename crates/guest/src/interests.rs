//! What the guest waits for in one turn of its loop.

use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Who asked to be woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The worker has sent something, or is gone.
    ChannelInput,
    /// The worker takes more.
    ChannelOutput,
    /// A child has ended, or the guest is asked to.
    Signals,
    /// The step's standard input takes more.
    StepInput,
    /// The step's output, by place.
    StepOutput(usize),
    /// A question for the resolver.
    Resolver,
    /// A connection for the resolver.
    ResolverByTcp,
    /// A question over such a connection, by its number.
    Asking(u32),
    /// A connection for a listener, by place.
    Listener(usize),
    /// A tunnel's connection, by number.
    Tunnel(u32),
}

/// Descriptors to wait for, and until when.
#[derive(Default)]
pub(crate) struct Interests<'a> {
    descriptors: Vec<PollFd<'a>>,
    sources: Vec<Source>,
    until: Option<Instant>,
}

impl<'a> Interests<'a> {
    /// Wakes when `descriptor` can be read, or has ended.
    pub(crate) fn read(&mut self, source: Source, descriptor: &'a impl AsFd) {
        self.add(source, descriptor.as_fd(), PollFlags::IN);
    }

    /// Wakes for `flags`.
    pub(crate) fn add(&mut self, source: Source, descriptor: BorrowedFd<'a>, flags: PollFlags) {
        self.descriptors.push(PollFd::from_borrowed_fd(descriptor, flags));
        self.sources.push(source);
    }

    /// Wakes at `time` at the latest.
    pub(crate) fn until(&mut self, time: Instant) {
        self.until = Some(self.until.map_or(time, |earlier| earlier.min(time)));
    }

    /// Waits, and says who is ready for what.
    pub(crate) fn wait(mut self) -> Vec<(Source, PollFlags)> {
        let timeout = self.until.map(|until| {
            let rest = until.saturating_duration_since(Instant::now());
            Timespec { tv_sec: rest.as_secs().cast_signed(), tv_nsec: i64::from(rest.subsec_nanos()) }
        });
        match rustix::event::poll(&mut self.descriptors, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Vec::new(),
            Err(error) => panic!("poll refuses valid descriptors: {error}"),
        }
        let ready = self.descriptors.iter().map(PollFd::revents);
        self.sources.into_iter().zip(ready).filter(|(_, flags)| !flags.is_empty()).collect()
    }
}
