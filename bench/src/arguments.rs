//! What is measured, with what, and how long.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, ValueEnum};

/// Measures sagewai beside its peers. `cargo xtask bench` gives it what it needs.
#[derive(Debug, Parser)]
pub(crate) struct Arguments {
    /// What to measure; nothing named means everything, or with --long that alone.
    #[arg(value_enum)]
    groups: Vec<Group>,
    /// The release build of sagewai.
    #[arg(long, value_name = "FILE")]
    pub(crate) sagewai: PathBuf,
    /// Folder for the data of what is measured; what is in it is removed. It should lie on a real disk.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) work: PathBuf,
    /// Folder in which the peer Restate is installed; absent means that its columns stay empty.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) restate: Option<PathBuf>,
    /// Writes the rows as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Rounds; in each, every system has one turn.
    #[arg(long, default_value_t = 5)]
    pub(crate) rounds: usize,
    /// Seconds of a turn under load, after a quarter of it to warm up.
    #[arg(long, default_value_t = 4.0)]
    seconds: f64,
    /// Operations of a turn where they come one at a time.
    #[arg(long, default_value_t = 200)]
    pub(crate) operations: usize,
    /// Also what takes minutes: a million pending runs, a run of a hundred thousand steps.
    #[arg(long)]
    pub(crate) long: bool,
}

/// Rows that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Group {
    /// Durable steps a second, latency, CPU, planning without workers; beside Restate.
    Orchestration,
    /// Namespace sandboxes cold and warm, mode 1 beside mode 0; beside bwrap.
    Sandbox,
    /// Sizes at rest, start of the command line.
    Footprint,
}

impl Arguments {
    /// Whether this group is to be measured.
    pub(crate) fn wants(&self, group: Group) -> bool {
        self.groups.is_empty() && !self.long || self.groups.contains(&group)
    }

    /// How long a turn under load is counted.
    pub(crate) fn turn(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}
