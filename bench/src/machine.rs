//! The machine and how busy it was: a figure without it says little.

use anyhow::{Context, Result};
use serde::Serialize;

/// A machine at a moment.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Cores that this process may use.
    pub(crate) cores: usize,
    /// Memory, GiB.
    pub(crate) memory_gib: f64,
    /// Processes that ran or waited to run, on average over the last minute.
    pub(crate) load_1_minute: f64,
}

impl Machine {
    /// This machine now.
    pub(crate) fn now() -> Result<Machine> {
        let load = std::fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
        let load_1_minute = load.split(' ').next().and_then(|first| first.parse().ok());
        let info = rustix::system::sysinfo();
        let memory_bytes = info.totalram * u64::from(info.mem_unit);
        Ok(Machine {
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_gib: (memory_bytes as f64 / (1_u64 << 30) as f64 * 10.0).round() / 10.0,
            load_1_minute: load_1_minute.context("/proc/loadavg has another form")?,
        })
    }
}

/// Nanoseconds of CLOCK_MONOTONIC, which processes of one machine share.
pub(crate) fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
