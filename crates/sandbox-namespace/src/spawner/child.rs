//! What the first process of a sandbox does before it becomes the guest. It runs as process 1 of its namespaces, alone.

use std::ffi::CString;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{Gid, Uid};
use rustix::mount::{MountFlags, UnmountFlags};
use rustix::process::{Resource, Rlimit, Signal};

use super::landlock;
use super::maps::IdMap;
use super::root::{HOME, IMAGE, IMAGES, SKELETON, STAGE, TOP, WRITABLE, attach, clone_tree, tmpfs};
use crate::sys::{self, MountAttributes};

/// Files of /proc that tell of the host or act on it; each shows up empty.
const MASKED_FILES: [&str; 39] = [
    "bootconfig",
    "buddyinfo",
    "cmdline",
    "config.gz",
    "consoles",
    "crypto",
    "devices",
    "diskstats",
    "dma",
    "execdomains",
    "fb",
    "interrupts",
    "iomem",
    "ioports",
    "kallsyms",
    "kcore",
    "key-users",
    "keys",
    "kmsg",
    "kpagecgroup",
    "kpagecount",
    "kpageflags",
    "latency_stats",
    "locks",
    "mdstat",
    "misc",
    "modules",
    "pagetypeinfo",
    "partitions",
    "sched_debug",
    "schedstat",
    "slabinfo",
    "softirqs",
    "swaps",
    "sysrq-trigger",
    "timer_list",
    "timer_stats",
    "vmallocinfo",
    "zoneinfo",
];
/// Folders of /proc that tell of the host or hold its settings; each shows up empty.
const MASKED_FOLDERS: [&str; 9] = ["acpi", "asound", "bus", "driver", "fs", "irq", "pressure", "scsi", "tty"];
/// The folder of /proc whose files are settings of the kernel, which programs read.
const READ_ONLY_FOLDER: &str = "sys";
/// Settings of the sandbox's own user namespace: what of the kernel all its processes together may have, so that a sandbox
/// cannot use up what the host gives to one user. Programs that watch files have one instance each.
const QUOTAS: [(&str, &str); 2] = [("max_inotify_instances", "16"), ("max_inotify_watches", "65536")];
/// Files and folders that may be made in the writable places, per MiB of their size.
const INODES_PER_MIB: u64 = 256;
/// Fewest of them.
const MIN_INODES: u64 = 4096;
/// Smallest size of the writable places, bytes; to the kernel 0 would mean no limit.
const MIN_DISK_BYTES: u64 = 64 << 10;

/// Bytes of the names of an image's layers, at most: with the other options they fit into a page.
const MAX_LAYERS_BYTES: u16 = 4000;

/// What a sandbox is made with.
pub(super) struct Blueprint<'a> {
    /// Carries one byte when the id maps are written, then the [`Order`]; ends early if the spawner is gone.
    pub(super) orders: OwnedFd,
    /// Files to which a process writes `0` to enter the sandbox's cgroup.
    pub(super) entrances: Vec<OwnedFd>,
    /// The guest's program, sealed.
    pub(super) guest: BorrowedFd<'a>,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
    pub(super) map: IdMap,
    pub(super) landlock: bool,
}

/// What a blank learns when it becomes a sandbox.
pub(super) struct Order {
    pub(super) disk_bytes: u64,
    /// Folders of an image's layers, the topmost first, as overlayfs wants them; empty for the host's toolchain.
    pub(super) layers: String,
}

impl Order {
    /// Disk, length of the layers, the layers. What is no name of a layer gets no further than here.
    pub(super) fn to_bytes(&self) -> io::Result<Vec<u8>> {
        let is_plain = self.layers.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':');
        let bytes = u16::try_from(self.layers.len()).ok().filter(|bytes| *bytes <= MAX_LAYERS_BYTES);
        let bytes =
            bytes.filter(|_| is_plain).ok_or_else(|| io::Error::other("the image's layers are not names"))?;
        Ok([&self.disk_bytes.to_le_bytes()[..], &bytes.to_le_bytes(), self.layers.as_bytes()].concat())
    }

    fn read(orders: &OwnedFd) -> io::Result<Self> {
        let disk_bytes = u64::from_le_bytes(read_order(orders)?);
        let mut layers = vec![0; usize::from(u16::from_le_bytes(read_order(orders)?))];
        fill(orders, &mut layers)?;
        let layers = String::from_utf8(layers).map_err(io::Error::other)?;
        Ok(Self { disk_bytes, layers })
    }
}

/// A step of the set-up that failed.
struct Failure {
    doing: &'static str,
    error: io::Error,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "failed to {}: {}", self.doing, self.error)
    }
}

trait Doing<T> {
    fn doing(self, doing: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<io::Error>> Doing<T> for Result<T, E> {
    fn doing(self, doing: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure { doing, error: error.into() })
    }
}

/// Sets everything up and becomes the guest. What goes wrong is written to the sandbox's standard error.
pub(super) fn become_guest(blueprint: Blueprint<'_>) -> ! {
    let stderr = blueprint.stderr.try_clone();
    let failure = match set_up(blueprint) {
        Ok(never) => match never {},
        Err(failure) => failure,
    };
    if let Ok(stderr) = stderr {
        // Nothing is left to be done if even this fails.
        let _ = writeln!(fs::File::from(stderr), "{failure}");
    }
    sys::exit(1)
}

enum Never {}

fn set_up(blueprint: Blueprint<'_>) -> Result<Never, Failure> {
    // Everything that does not depend on the template comes first: a blank waits with it done.
    for entrance in &blueprint.entrances {
        rustix::io::write(entrance, b"0").doing("enter the cgroup")?;
    }
    read_order::<1>(&blueprint.orders).doing("start")?;
    become_root_inside(blueprint.map).doing("change to the sandbox's user")?;
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .doing("ask to die with the spawner")?;
    sys::unshare_cgroup().doing("leave the host's cgroups")?;
    rustix::system::sethostname(b"sandbox").doing("set the host name")?;
    sys::loopback_up().doing("bring the loopback interface up")?;
    attach(&clone_tree(Path::new(SKELETON)).doing("copy the skeleton")?, Path::new(STAGE))
        .doing("mount the skeleton")?;
    rustix::process::chdir(STAGE).doing("enter the skeleton")?;
    mount_proc()?;
    mount_terminals(blueprint.map)?;
    limit().doing("set limits")?;
    rustix::thread::set_no_new_privs(true).doing("set no_new_privs")?;

    let order = Order::read(&blueprint.orders).doing("wait for a template")?;
    if !order.layers.is_empty() {
        mount_image(&order.layers)?;
    }
    mount_writable(order.disk_bytes, blueprint.map)?;
    rustix::process::pivot_root(".", ".").doing("change the root")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH).doing("detach the old root")?;
    rustix::process::chdir("/").doing("enter the new root")?;
    if blueprint.landlock {
        landlock::restrict().doing("restrict file access by Landlock")?;
    }
    rustix::stdio::dup2_stdin(&blueprint.stdin).doing("open the channel")?;
    rustix::stdio::dup2_stdout(&blueprint.stdout).doing("open the channel")?;
    rustix::stdio::dup2_stderr(&blueprint.stderr).doing("open the channel")?;
    sys::close_on_exec_from(3).doing("close descriptors")?;
    sys::restore_signals().doing("restore signals")?;
    Err(sys::execute(blueprint.guest, c"guest")).doing("start the guest")
}

fn read_order<const N: usize>(orders: &OwnedFd) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    fill(orders, &mut bytes)?;
    Ok(bytes)
}

fn fill(orders: &OwnedFd, bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        match rustix::io::retry_on_intr(|| rustix::io::read(orders, &mut bytes[filled..]))? {
            0 => return Err(io::Error::other("the spawner is gone")),
            more => filled += more,
        }
    }
    Ok(())
}

/// An image in place of the host's toolchain: its layers with our own topmost, read-only, and in it the /proc and /dev that
/// are ready. Nothing here resolves a path in which the image has a say: every place for a mount is a folder of our layer.
fn mount_image(layers: &str) -> Result<(), Failure> {
    // Relative names, so that many layers fit into the one page of options that mount takes.
    rustix::process::chdir(IMAGES).doing("enter the folder of image layers")?;
    let options = CString::new(format!("lowerdir={TOP}:{layers},userxattr")).map_err(io::Error::other);
    let options = options.doing("name the image's layers")?;
    let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
    rustix::mount::mount("overlay", IMAGE, "overlay", flags, Some(options.as_c_str()))
        .doing("mount the image (overlayfs in a user namespace needs Linux 5.11)")?;
    rustix::process::chdir(STAGE).doing("enter the skeleton")?;
    let proc = clone_tree(Path::new("proc")).doing("copy /proc")?;
    let dev = clone_tree(Path::new("dev")).doing("copy /dev")?;
    rustix::process::chdir(IMAGE).doing("enter the image")?;
    attach(&proc, Path::new("proc")).doing("mount /proc in the image")?;
    attach(&dev, Path::new("dev")).doing("mount /dev in the image")
}

fn become_root_inside(map: IdMap) -> io::Result<()> {
    if map.has_groups() {
        rustix::thread::set_thread_groups(&[])?;
    }
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT)?;
    Ok(())
}

/// The pid namespace's own /proc, without what tells of the host.
fn mount_proc() -> Result<(), Failure> {
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount("proc", "proc", "proc", flags, None).doing("mount /proc")?;
    let proc = Path::new("proc");
    for name in MASKED_FILES.iter().filter(|name| proc.join(name).exists()) {
        let null = clone_tree(Path::new("dev/null")).doing("open /dev/null")?;
        attach(&null, &proc.join(name)).doing("mask a file of /proc")?;
    }
    for name in MASKED_FOLDERS.iter().filter(|name| proc.join(name).is_dir()) {
        // `run` is an empty folder of the skeleton, read-only as all of it.
        let empty = clone_tree(Path::new("run")).doing("open an empty folder")?;
        attach(&empty, &proc.join(name)).doing("mask a folder of /proc")?;
    }
    let read_only = MountAttributes::READ_ONLY
        .and(MountAttributes::NO_SUID)
        .and(MountAttributes::NO_DEVICES)
        .and(MountAttributes::NO_EXEC);
    let settings = proc.join(READ_ONLY_FOLDER);
    set_quotas(&settings.join("user")).doing("set quotas of the user namespace")?;
    let tree = clone_tree(&settings).doing("open /proc/sys")?;
    sys::set_mount_attributes(tree.as_fd(), read_only, true).doing("make /proc/sys read-only")?;
    attach(&tree, &settings).doing("mount /proc/sys")
}

/// A kernel that has no such quota has none to use up.
fn set_quotas(folder: &Path) -> io::Result<()> {
    for (name, most) in QUOTAS {
        match fs::write(folder.join(name), most) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// One tmpfs for all places where the step may write, so that one limit holds for all of them together.
fn mount_writable(disk_bytes: u64, map: IdMap) -> Result<(), Failure> {
    let size = disk_bytes.max(MIN_DISK_BYTES);
    let inodes = (size >> 20).saturating_mul(INODES_PER_MIB).max(MIN_INODES);
    let options = [("size", size.to_string()), ("nr_inodes", inodes.to_string())];
    let options: Vec<(&str, &str)> = options.iter().map(|(key, value)| (*key, value.as_str())).collect();
    attach(&tmpfs(&options).doing("make a tmpfs")?, Path::new(WRITABLE)).doing("mount a tmpfs")?;
    let step = map.step();
    for (name, place, mode) in [
        ("workspace", "workspace", 0o755),
        ("home", HOME, 0o700),
        ("tmp", "tmp", 0o1777),
        ("shm", "dev/shm", 0o1777),
    ] {
        let folder = Path::new(WRITABLE).join(name);
        fs::create_dir(&folder).doing("make a writable folder")?;
        rustix::fs::chown(&folder, Some(Uid::from_raw(step)), Some(Gid::from_raw(step)))
            .doing("give a writable folder to the step")?;
        rustix::fs::chmod(&folder, mode.into()).doing("open a writable folder")?;
        attach(&clone_tree(&folder).doing("open a writable folder")?, Path::new(place))
            .doing("mount a writable folder")?;
    }
    Ok(())
}

/// Terminals of its own, at most 64, since the kernel has few thousand for all.
fn mount_terminals(map: IdMap) -> Result<(), Failure> {
    let options = if map.has_groups() {
        c"newinstance,ptmxmode=0666,mode=0620,max=64,gid=5"
    } else {
        c"newinstance,ptmxmode=0666,mode=0620,max=64"
    };
    let flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    rustix::mount::mount("devpts", "dev/pts", "devpts", flags, options).doing("mount /dev/pts")
}

/// A core dump would hold the step's secrets. 1 is the one limit that also stops dumps into a program of the host's (as
/// core_pattern may say), for which the kernel does not look at 0.
const NO_CORE: Rlimit = Rlimit { current: Some(1), maximum: Some(1) };

/// Limits of every process of the sandbox that need no knowledge of the step.
fn limit() -> io::Result<()> {
    rustix::process::setrlimit(Resource::Core, NO_CORE)?;
    rustix::process::setrlimit(Resource::Memlock, Rlimit { current: Some(8 << 20), maximum: Some(8 << 20) })?;
    Ok(())
}
