//! Events on their way to the step's reader: bounded by the credits of each stream, small pieces joined.

use std::collections::VecDeque;

use bytes::BytesMut;
use protocol::frame::{MAX_DATA_BYTES, STREAM_WINDOW_BYTES, Stream};

use super::run::StepEvent;
use crate::SandboxError;
use crate::egress::Denial;

/// Events that may wait; then the guest is not listened to until the reader has taken some.
const MAX_EVENTS: usize = 1024;
/// Denials that are told per step; a step that tries more hosts has made its point.
const MAX_DENIALS: usize = 200;
/// Consumed bytes after which the guest is granted more: often enough that a stream never stalls.
const GRANT_BYTES: u32 = STREAM_WINDOW_BYTES / 4;
/// Bytes of a host name in a denial, at most.
pub(super) const MAX_DENIED_HOST_BYTES: usize = 260;

enum Queued {
    Started,
    Output(Stream, BytesMut),
    Denied(Denial),
}

/// The queue, and what the guest may still send into it.
pub(super) struct EventQueue {
    events: VecDeque<Queued>,
    denials: usize,
    /// Bytes that the guest may still send, per stream.
    allowance: [u32; 2],
    /// Bytes taken by the reader and not yet granted again, per stream.
    consumed: [u32; 2],
}

impl Default for EventQueue {
    fn default() -> Self {
        Self { events: VecDeque::new(), denials: 0, allowance: [STREAM_WINDOW_BYTES; 2], consumed: [0; 2] }
    }
}

impl EventQueue {
    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.events.len() >= MAX_EVENTS
    }

    pub(super) fn started(&mut self) {
        self.events.push_back(Queued::Started);
    }

    pub(super) fn denied(&mut self, denial: Denial) {
        self.denials += 1;
        if self.denials <= MAX_DENIALS {
            self.events.push_back(Queued::Denied(denial));
        }
    }

    /// Output of the guest; an error where it exceeds its credit.
    pub(super) fn output(&mut self, stream: Stream, data: Vec<u8>) -> Result<(), SandboxError> {
        let breach = || SandboxError::Protocol("more output than it has credit for".to_owned());
        if data.len() > MAX_DATA_BYTES {
            return Err(breach());
        }
        let allowance = &mut self.allowance[index(stream)];
        *allowance =
            u32::try_from(data.len()).ok().and_then(|n| allowance.checked_sub(n)).ok_or_else(breach)?;
        match self.events.back_mut() {
            _ if data.is_empty() => {}
            Some(Queued::Output(last, joined))
                if *last == stream && joined.len() + data.len() <= MAX_DATA_BYTES =>
            {
                joined.extend_from_slice(&data);
            }
            _ => self.events.push_back(Queued::Output(stream, BytesMut::from(bytes::Bytes::from(data)))),
        }
        Ok(())
    }

    pub(super) fn pop(&mut self) -> Option<StepEvent> {
        Some(match self.events.pop_front()? {
            Queued::Started => StepEvent::Started,
            Queued::Output(stream, data) => StepEvent::Output(stream, data.freeze()),
            Queued::Denied(denial) => StepEvent::Denied(denial),
        })
    }

    /// The reader has taken output; what to grant the guest now, if anything.
    pub(super) fn consumed(&mut self, stream: Stream, bytes: usize) -> Option<(Stream, u32)> {
        let consumed = &mut self.consumed[index(stream)];
        *consumed += u32::try_from(bytes).expect("joined output is bounded by the window");
        if *consumed < GRANT_BYTES {
            return None;
        }
        let grant = std::mem::take(consumed);
        self.allowance[index(stream)] += grant;
        Some((stream, grant))
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_bounded_by_the_credit() {
        let mut queue = EventQueue::default();
        let frame = vec![0; MAX_DATA_BYTES];
        for _ in 0..STREAM_WINDOW_BYTES as usize / MAX_DATA_BYTES {
            queue.output(Stream::Stdout, frame.clone()).expect("within the window");
        }
        queue.output(Stream::Stderr, vec![1]).expect("the other stream has its own");
        queue.output(Stream::Stdout, vec![1]).expect_err("beyond the window");
    }

    #[test]
    fn taking_output_grants_as_much_again() {
        let mut queue = EventQueue::default();
        let (mut sent, mut granted) = (0_u64, 0_u64);
        for _ in 0..1000 {
            queue.output(Stream::Stdout, vec![7; 10_000]).expect("granted in time");
            sent += 10_000;
            while let Some(StepEvent::Output(stream, data)) = queue.pop() {
                granted += queue.consumed(stream, data.len()).map_or(0, |(_, bytes)| u64::from(bytes));
            }
        }
        assert!(sent - granted < u64::from(GRANT_BYTES) + 10_000);
    }

    #[test]
    fn small_pieces_are_joined_and_empty_ones_dropped() {
        let mut queue = EventQueue::default();
        for _ in 0..10_000 {
            queue.output(Stream::Stdout, vec![b'x']).expect("within the window");
            queue.output(Stream::Stdout, Vec::new()).expect("nothing");
        }
        assert_eq!(queue.events.len(), 1);
    }
}
