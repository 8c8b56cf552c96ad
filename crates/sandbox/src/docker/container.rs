//! The container of a sandbox, as the daemon is asked for it. Pure, so that every promise can be read and tested here.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountType, MountVolumeOptions,
};

use super::image::LocalImage;
use crate::{HOME, STEP_ID, SandboxLimits, WORKSPACE};

/// Where the volume with the guest is mounted; no image has a folder of this name.
pub(super) const GUEST_FOLDER: &str = "/.sagewai";
/// The guest, from inside.
pub(super) const GUEST: &str = "/.sagewai/guest";
/// Address of the guest's resolver.
const RESOLVER: &str = "127.77.0.1";
/// Bytes of a file that one inode is expected to hold: with the limit of bytes comes one of files.
const BYTES_PER_INODE: u64 = 16 << 10;
/// Files of one writable folder, at least.
const MIN_INODES: u64 = 1024;
/// Bytes of /dev/shm, at most; as Docker's own default.
const MAX_SHARED_MEMORY_BYTES: u64 = 64 << 20;
/// Processes beside the step's: the guest.
const OWN_PROCESSES: i64 = 1;

/// What the guest needs until the step starts, and gives up then (see the guest's `harden`): to become another user for
/// the step, to end and read what is that user's, to listen on ports below 1024 of its own loopback, to empty the
/// bounding set. The step has none, and cannot gain one.
const GUEST_CAPABILITIES: [&str; 9] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_KILL",
    "CAP_NET_ADMIN",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
];

/// Docker's own list, and what else tells of the machine below.
const MASKED: [&str; 20] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/bus",
    "/proc/cmdline",
    "/proc/config.gz",
    "/proc/devices",
    "/proc/interrupts",
    "/proc/kallsyms",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/modules",
    "/proc/partitions",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/version_signature",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];
const READ_ONLY: [&str; 5] = ["/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys"];

/// What a container is made from.
pub(super) struct Plan<'a> {
    pub(super) image: &'a LocalImage,
    pub(super) limits: SandboxLimits,
    /// The volume with the guest.
    pub(super) volume: &'a str,
    pub(super) runtime: Option<&'a str>,
    pub(super) labels: HashMap<String, String>,
}

/// The request for it.
pub(super) fn container(plan: Plan<'_>) -> ContainerCreateBody {
    ContainerCreateBody {
        image: Some(plan.image.id.clone()),
        // Both replace the image's, with its arguments.
        entrypoint: Some(vec![GUEST.to_owned()]),
        cmd: Some(Vec::new()),
        user: Some("0:0".to_owned()),
        working_dir: Some("/".to_owned()),
        hostname: Some("sandbox".to_owned()),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // The guest's input ends with the worker's connection, and so does the guest.
        stdin_once: Some(true),
        tty: Some(false),
        // An image's health check would run beside the guest, with all that the guest may do.
        healthcheck: Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() }),
        labels: Some(plan.labels.clone()),
        host_config: Some(host(&plan)),
        ..ContainerCreateBody::default()
    }
}

fn host(plan: &Plan<'_>) -> HostConfig {
    let limits = plan.limits;
    let memory = i64::try_from(limits.memory_bytes).unwrap_or(i64::MAX);
    let strings = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
    HostConfig {
        network_mode: Some("none".to_owned()),
        dns: strings(&[RESOLVER]),
        dns_options: strings(&["timeout:2", "attempts:2"]),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        cap_drop: strings(&["ALL"]),
        cap_add: strings(&GUEST_CAPABILITIES),
        security_opt: strings(&["no-new-privileges"]),
        readonly_rootfs: Some(true),
        masked_paths: strings(&MASKED),
        readonly_paths: strings(&READ_ONLY),
        privileged: Some(false),
        mounts: Some(vec![guest_mount(plan.volume)]),
        tmpfs: Some(writable(plan)),
        shm_size: Some(limits.disk_bytes.min(MAX_SHARED_MEMORY_BYTES).cast_signed()),
        memory: Some(memory),
        // The same with swap: no swap.
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(limits.cpu_millis) * 1_000_000),
        pids_limit: Some(i64::from(limits.processes) + OWN_PROCESSES),
        runtime: plan.runtime.map(str::to_owned),
        // What the guest says is the channel: the daemon keeps none of it.
        log_config: Some(HostConfigLogConfig { typ: Some("none".to_owned()), config: None }),
        // Nothing of it stays when its guest has ended, also if the worker is no longer there.
        auto_remove: Some(true),
        ..HostConfig::default()
    }
}

/// Read-only, and without a copy of what the image may have there.
fn guest_mount(volume: &str) -> Mount {
    Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume.to_owned()),
        target: Some(GUEST_FOLDER.to_owned()),
        read_only: Some(true),
        volume_options: Some(MountVolumeOptions { no_copy: Some(true), ..MountVolumeOptions::default() }),
        ..Mount::default()
    }
}

/// The folders that can be written to, each with a limit. What the image declares as a volume would otherwise be a folder
/// on the daemon's disk without one.
fn writable(plan: &Plan<'_>) -> HashMap<String, String> {
    let bytes = plan.limits.disk_bytes;
    let inodes = (bytes / BYTES_PER_INODE).max(MIN_INODES);
    let options = |more: &str| format!("rw,exec,nosuid,nodev,size={bytes},nr_inodes={inodes},{more}");
    let declared = plan.image.volumes.iter().map(|folder| (folder.clone(), options("mode=1777")));
    let own = [
        ("/tmp".to_owned(), options("mode=1777")),
        (WORKSPACE.to_owned(), options("mode=0755")),
        (HOME.to_owned(), options(&format!("mode=0700,uid={STEP_ID},gid={STEP_ID}"))),
    ];
    declared.chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(image: LocalImage) -> ContainerCreateBody {
        let limits =
            SandboxLimits { cpu_millis: 1500, memory_bytes: 64 << 20, disk_bytes: 8 << 20, processes: 20 };
        container(Plan {
            image: &image,
            limits,
            volume: "guest-volume",
            runtime: None,
            labels: HashMap::new(),
        })
    }

    #[test]
    fn a_container_is_closed_limited_and_leaves_nothing() {
        let body = made(LocalImage { id: "sha256:1".to_owned(), ..LocalImage::default() });
        let host = body.host_config.expect("a host configuration");
        assert_eq!(body.image.as_deref(), Some("sha256:1"));
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!((host.readonly_rootfs, host.auto_remove), (Some(true), Some(true)));
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(1_500_000_000), Some(21)));
        assert_eq!(host.log_config.and_then(|log| log.typ).as_deref(), Some("none"));
        assert!(host.binds.is_none(), "no folder of the worker's machine");
        let mounts = host.mounts.expect("mounts");
        assert!(
            mounts.iter().all(|mount| mount.read_only == Some(true) && mount.typ == Some(MountType::VOLUME))
        );
    }

    #[test]
    fn what_an_image_declares_gives_it_no_way_around() {
        let image = LocalImage { volumes: vec!["/var/lib/data".to_owned()], ..LocalImage::default() };
        let body = made(image);
        assert_eq!(body.healthcheck.and_then(|check| check.test), Some(vec!["NONE".to_owned()]));
        let tmpfs = body.host_config.and_then(|host| host.tmpfs).expect("writable folders");
        assert!(tmpfs["/var/lib/data"].contains("size=8388608"), "{tmpfs:?}");
        assert!(tmpfs.values().all(|options| options.contains("nosuid") && options.contains("nr_inodes")));
    }
}
