//! Retry policies and timeouts.

use super::DurationValue;
use crate::expression::Expression;

/// `timeout`.
#[derive(Clone, Debug)]
pub struct Timeout {
    /// After which time.
    pub after: DurationValue,
}

/// A retry policy.
#[derive(Clone, Debug, Default)]
pub struct RetryPolicy {
    /// `when`: retries only if true.
    pub when: Option<Expression>,
    /// `exceptWhen`: retries only if not true.
    pub except_when: Option<Expression>,
    /// `delay`: before each attempt; none when absent.
    pub delay: Option<DurationValue>,
    /// `backoff`: how the delay grows; constant when absent.
    pub backoff: Backoff,
    /// `limit.attempt.count`: retries at most.
    pub limit_attempts: Option<u32>,
    /// `limit.attempt.duration`: time of one attempt at most.
    pub limit_attempt_duration: Option<DurationValue>,
    /// `limit.duration`: time of all attempts at most.
    pub limit_duration: Option<DurationValue>,
    /// `jitter`: added to the delay, between the two.
    pub jitter: Option<(DurationValue, DurationValue)>,
}

/// How the delay between attempts grows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Backoff {
    /// It does not.
    #[default]
    Constant,
    /// It doubles: `delay * 2^(n - 1)` before retry n.
    Exponential,
    /// By one delay each time: `delay * n` before retry n.
    Linear,
}
