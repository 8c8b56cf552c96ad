//! Limits of a run, each with its unit. They are the same everywhere, so that a replay ends the same way.

/// Transitions that one call of [`crate::Run::apply`] makes before it yields.
pub const MAX_TRANSITIONS_PER_TURN: u32 = 256;
/// Tasks that a run does one after the other while it waits for nothing: no step, child run or timer. A run that does more goes
/// in circles, and each of them is written to its history.
pub const MAX_TASKS_WITHOUT_WAIT: u32 = 100_000;
/// Tasks within tasks, function calls included.
pub const MAX_DEPTH: u32 = 128;
/// Tasks and lists of one run that may be in progress at once: forks in functions in forks multiply.
pub const MAX_FRAMES: usize = 16 * 1024;
/// Steps of one run that may be open at once.
pub const MAX_OPEN_STEPS: usize = 1024;
/// Child runs of one run that may be open at once.
pub const MAX_OPEN_CHILDREN: usize = 1024;
/// Branches of one `fork`.
pub const MAX_FORK_BRANCHES: usize = 512;
/// Bytes of JSON of one value: an input, an output, a context, about.
pub const MAX_VALUE_BYTES: usize = 4 * 1024 * 1024;
/// Milliseconds that a timer is ahead at most; a longer wait or timeout is cut to it. Ten years.
pub const MAX_DELAY_MS: i64 = 10 * 365 * 24 * 3600 * 1000;
/// Milliseconds that a cancelled run waits for its steps to stop before it ends without them.
pub const CANCEL_GRACE_MS: i64 = 30_000;
/// Steps of the expression machine for all expressions of one transition: one task's, or those of the tasks that end with
/// it. A task that needs more fails.
pub const MAX_FUEL_PER_TRANSITION: u64 = 1_000_000;
/// Steps of the expression machine after which a turn yields.
pub const MAX_FUEL_PER_TURN: u64 = 500_000;
