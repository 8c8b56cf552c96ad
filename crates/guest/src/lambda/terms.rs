//! What differs for a step in a function: it ends before AWS ends the invocation, and the network is not its own.

use std::time::{Duration, Instant};

use protocol::frame::{FailureKind, StartStep};

use crate::failure::Failure;

/// From the end of the step to the end of the invocation: for its last output, its files and the answer.
const RESERVE: Duration = Duration::from_secs(3);

/// The terms of one invocation.
pub(crate) struct Terms {
    /// When AWS ends the invocation.
    pub(super) ends: Instant,
    /// Whether the operator gives the step the function's network as it is.
    pub(super) open_network: bool,
}

impl Terms {
    /// Whether the step must get no internet sockets.
    pub(crate) fn offline(&self) -> bool {
        !self.open_network
    }

    /// Holds a step to the terms: it is refused if they cannot hold, and ends in time.
    pub(crate) fn hold(&self, start: &mut StartStep) -> Result<(), Failure> {
        if self.offline() && !start.network.is_empty() {
            return Err(Failure::new(
                FailureKind::Isolation,
                "in a Lambda function the step's `network` list cannot be held: the kernel there gives the guest no way to \
                 close the rest. Run the step on another sandbox backend, or let the operator open the function's network \
                 with `lambda.open-network`, which then reaches all that its VPC reaches",
            ));
        }
        let left = self.ends.saturating_duration_since(Instant::now()).saturating_sub(RESERVE);
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
        let asked_ms = start.limits.deadline_ms;
        start.limits.deadline_ms = if asked_ms == 0 { left_ms } else { asked_ms.min(left_ms) };
        Ok(())
    }
}
