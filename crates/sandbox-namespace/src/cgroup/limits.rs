//! A sandbox's limits in the words of each kind of cgroup.

use crate::wire::Limits;

/// Processes of the guest itself, beside the step's.
const GUEST_PROCESSES: u32 = 1;
/// Memory of the guest itself, bytes.
const GUEST_MEMORY_BYTES: u64 = 32 << 20;
/// Period over which CPU time is limited, microseconds.
const PERIOD_US: u64 = 100_000;
/// Smallest share of a period that the kernel takes, microseconds.
const MIN_QUOTA_US: u64 = 1_000;

/// A hierarchy of cgroups in which each sandbox has a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hierarchy {
    /// Version 1, memory.
    Memory,
    /// Version 1, processes.
    Processes,
    /// Version 1, CPU.
    Cpu,
    /// Version 2, everything.
    Unified,
}

/// A file to write.
pub(super) struct Setting {
    pub(super) file: &'static str,
    pub(super) value: String,
    /// Whether the limit does not hold without it.
    pub(super) required: bool,
}

fn required(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), required: true }
}

/// Not every kernel has this file, such as one without swap.
fn wished(file: &'static str, value: impl ToString) -> Setting {
    Setting { file, value: value.to_string(), required: false }
}

/// What to write for these limits, in order.
pub(super) fn settings(hierarchy: Hierarchy, limits: &Limits) -> Vec<Setting> {
    // The writable places are a tmpfs, which counts as memory of the sandbox.
    let memory = limits.memory_bytes.saturating_add(limits.disk_bytes).saturating_add(GUEST_MEMORY_BYTES);
    let processes = limits.processes.saturating_add(GUEST_PROCESSES);
    let quota = (u64::from(limits.cpu_millis) * PERIOD_US / 1000).max(MIN_QUOTA_US);
    match hierarchy {
        Hierarchy::Memory => {
            // Memory and swap together may never be below memory alone, also while they change.
            vec![
                wished("memory.memsw.limit_in_bytes", -1),
                required("memory.limit_in_bytes", memory),
                wished("memory.memsw.limit_in_bytes", memory),
            ]
        }
        Hierarchy::Processes => vec![required("pids.max", processes)],
        Hierarchy::Cpu => vec![required("cpu.cfs_quota_us", quota)],
        Hierarchy::Unified => vec![
            required("memory.max", memory),
            wished("memory.swap.max", 0),
            wished("memory.oom.group", 1),
            required("pids.max", processes),
            required("cpu.max", format!("{quota} {PERIOD_US}")),
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_in_the_words_of_both_versions() {
        let limits = Limits { cpu_millis: 1500, memory_bytes: 1 << 30, disk_bytes: 1 << 30, processes: 99 };
        let text = |hierarchy| {
            settings(hierarchy, &limits)
                .iter()
                .filter(|setting| setting.required)
                .map(|setting| format!("{}={}", setting.file, setting.value))
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(text(Hierarchy::Memory), format!("memory.limit_in_bytes={}", (2_u64 << 30) + (32 << 20)));
        assert_eq!(text(Hierarchy::Processes), "pids.max=100");
        assert_eq!(text(Hierarchy::Cpu), "cpu.cfs_quota_us=150000");
        let memory = (2_u64 << 30) + (32 << 20);
        assert_eq!(
            text(Hierarchy::Unified),
            format!("memory.max={memory} pids.max=100 cpu.max=150000 100000")
        );
    }
}
