//! The file system that sandboxes start from, built once by the spawner in a mount namespace of its own.
//!
//! The spawner's root becomes a small tmpfs with nothing of the host in it but its /proc, and below `/skeleton` a
//! read-only tree: the host's toolchain, a few files of /etc, devices. A sandbox mounts a copy of that tree and its own
//! writable places over it; the rest of the host is not even in its mount namespace before it starts.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use rustix::fs::CWD;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
    UnmountFlags,
};

use crate::sys::{self, MountAttributes};

/// The tree that sandboxes copy, as the spawner sees it.
pub(super) const SKELETON: &str = "/skeleton";
/// Where a sandbox's copy is mounted while it is being made.
pub(super) const STAGE: &str = "/stage";
/// Where a sandbox's writable tmpfs is mounted while it is being made.
pub(super) const WRITABLE: &str = "/writable";
/// Unpacked layers of images, as the spawner sees them.
pub(super) const IMAGES: &str = "/images";
/// What lies over the layers of every image: our own files, and a folder for all that a sandbox mounts. Being ours and
/// topmost, none of it can be a link of the image's.
pub(super) const TOP: &str = "/top";
/// Where an image is mounted while a sandbox is being made.
pub(super) const IMAGE: &str = "/image";
/// Home of the step.
pub(super) const HOME: &str = "home/step";
/// Address of the guest's DNS inside the sandbox.
const NAMESERVER: &str = "127.77.0.1";

/// Folders of the host's toolchain; as on the host, some may be links.
const TOOLCHAIN: [&str; 7] = ["usr", "bin", "sbin", "lib", "lib32", "lib64", "libx32"];
/// Folders of /etc that programs of the toolchain read, and that hold no secrets.
const ETC_FOLDERS: [&str; 5] = ["ssl/certs", "pki/tls/certs", "fonts", "terminfo", "ca-certificates"];
/// Files of /etc likewise.
const ETC_FILES: [&str; 11] = [
    "ld.so.cache",
    "ssl/openssl.cnf",
    "localtime",
    "timezone",
    "mime.types",
    "os-release",
    "services",
    "protocols",
    "debian_version",
    "magic",
    "gai.conf",
];
/// Largest file of /etc that is copied, bytes.
const MAX_ETC_FILE_BYTES: u64 = 1 << 20;
/// Devices that a sandbox has.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];
/// Links in /dev.
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("ptmx", "pts/ptmx"),
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];
/// Folders where something of the sandbox's own is mounted.
const OWN_FOLDERS: [&str; 7] = ["proc", "dev/pts", "dev/shm", "tmp", "workspace", HOME, "run"];

/// A folder of the host that is put at the same place, opened before the host is out of reach.
struct Bind {
    tree: OwnedFd,
    /// Below the skeleton.
    target: PathBuf,
    is_folder: bool,
}

/// What of the host goes into the skeleton.
#[derive(Default)]
struct Plan {
    binds: Vec<Bind>,
    links: Vec<(PathBuf, PathBuf)>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// Folders of the layer that lies over those of an image.
const TOP_FOLDERS: [&str; 5] = ["proc", "dev", "tmp", "workspace", HOME];

/// Builds the tree and makes it the spawner's root. `extra` are folders that the operator adds, read-only; `images` is the
/// folder of layers.
pub(super) fn build(extra: &[PathBuf], images: Option<&Path>) -> io::Result<()> {
    rustix::mount::mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
    let plan = plan(extra)?;
    let proc = clone_tree(Path::new("/proc"))?;
    let images = images.map(clone_tree).transpose()?;
    // Any folder will do: the new root is made the root at once.
    let place = ["/tmp", "/mnt", "/usr"].into_iter().find(|path| Path::new(path).is_dir()).unwrap_or("/proc");
    attach(&tmpfs(&[])?, Path::new(place))?;
    rustix::process::chdir(place)?;
    for folder in ["proc", "skeleton", "stage", "writable", "images", "top", "image"] {
        fs::create_dir(folder)?;
    }
    if let Some(images) = images {
        sys::set_mount_attributes(
            images.as_fd(),
            MountAttributes::READ_ONLY.and(MountAttributes::NO_SUID),
            true,
        )?;
        attach(&images, Path::new("images"))?;
    }
    build_top(Path::new("top"))?;
    attach(&proc, Path::new("proc"))?;
    attach(&tmpfs(&[])?, Path::new("skeleton"))?;
    plan.realise(Path::new("skeleton"))?;
    rustix::process::pivot_root(".", ".")?;
    rustix::mount::unmount(".", UnmountFlags::DETACH)?;
    rustix::process::chdir("/")?;
    seal()
}

fn plan(extra: &[PathBuf]) -> io::Result<Plan> {
    let mut plan = Plan::default();
    for name in TOOLCHAIN {
        plan.add_host_path(&Path::new("/").join(name), name)?;
    }
    for name in ETC_FOLDERS {
        plan.add_host_path(&Path::new("/etc").join(name), format!("etc/{name}"))?;
    }
    for name in ETC_FILES {
        plan.copy_host_file(&Path::new("/etc").join(name), &format!("etc/{name}"));
    }
    plan.copy_links(Path::new("/etc/alternatives"), Path::new("etc/alternatives"));
    for entry in fs::read_dir("/etc")?.flatten() {
        // Java reads its configuration here, through links from /usr.
        if entry.file_name().to_string_lossy().starts_with("java-") {
            let target = format!("etc/{}", entry.file_name().to_string_lossy());
            plan.add_host_path(&entry.path(), &target)?;
        }
    }
    for device in DEVICES {
        plan.add_host_path(&Path::new("/dev").join(device), format!("dev/{device}"))?;
    }
    for path in extra {
        let target =
            path.strip_prefix("/").map_err(|_| io::Error::other("a sandbox path is not absolute"))?;
        plan.add_host_path(path, target)?;
    }
    plan.files.extend(own_files());
    Ok(plan)
}

/// Files that every sandbox has, whatever the host's say.
fn own_files() -> impl Iterator<Item = (PathBuf, Vec<u8>)> {
    let step = sandbox::STEP_ID;
    let passwd = format!(
        "root:x:0:0:root:/{HOME}:/bin/sh\nstep:x:{step}:{step}:step:/{HOME}:/bin/sh\n\
         nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    );
    let group = format!("root:x:0:\nstep:x:{step}:\nnogroup:x:65534:\n");
    [
        ("etc/passwd", passwd),
        ("etc/group", group),
        ("etc/hosts", "127.0.0.1 localhost sandbox\n::1 localhost\n".to_owned()),
        ("etc/hostname", "sandbox\n".to_owned()),
        ("etc/resolv.conf", format!("nameserver {NAMESERVER}\noptions ndots:0 timeout:5 attempts:2\n")),
        ("etc/nsswitch.conf", "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n".to_owned()),
        ("etc/shells", "/bin/sh\n/bin/bash\n".to_owned()),
    ]
    .into_iter()
    .map(|(path, text)| (PathBuf::from(path), text.into_bytes()))
}

impl Plan {
    /// Takes a folder, file, device or link of the host; what is not there is left out.
    fn add_host_path(&mut self, source: &Path, target: impl Into<PathBuf>) -> io::Result<()> {
        let Ok(metadata) = fs::symlink_metadata(source) else { return Ok(()) };
        if metadata.file_type().is_symlink() {
            self.links.push((fs::read_link(source)?, target.into()));
            return Ok(());
        }
        let tree = clone_tree(source)?;
        self.binds.push(Bind { tree, target: target.into(), is_folder: metadata.is_dir() });
        Ok(())
    }

    fn copy_host_file(&mut self, source: &Path, target: &str) {
        let short = fs::metadata(source)
            .is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_ETC_FILE_BYTES);
        if let Some(content) = short.then(|| fs::read(source).ok()).flatten() {
            self.files.push((PathBuf::from(target), content));
        }
    }

    fn copy_links(&mut self, source: &Path, target: &Path) {
        for entry in fs::read_dir(source).into_iter().flatten().flatten() {
            if let Ok(to) = fs::read_link(entry.path()) {
                self.links.push((to, target.join(entry.file_name())));
            }
        }
    }

    /// Puts everything below `root`, which is writable still.
    fn realise(&self, root: &Path) -> io::Result<()> {
        for folder in OWN_FOLDERS {
            make_folder(&root.join(folder))?;
        }
        for bind in &self.binds {
            let target = root.join(&bind.target);
            make_folder(target.parent().unwrap_or(root))?;
            if bind.is_folder {
                make_folder(&target)?
            } else {
                fs::write(&target, [])?
            }
            attach(&bind.tree, &target)?;
        }
        let device_links = DEVICE_LINKS.map(|(name, to)| (PathBuf::from(to), Path::new("dev").join(name)));
        for (to, at) in self.links.iter().chain(&device_links) {
            let at = root.join(at);
            make_folder(at.parent().unwrap_or(root))?;
            ignore_existing(symlink(to, at))?;
        }
        put_files(root, self.files.iter())?;
        make_folder(&root.join("var"))?;
        ignore_existing(symlink("/tmp", root.join("var/tmp")))
    }
}

fn build_top(top: &Path) -> io::Result<()> {
    for folder in TOP_FOLDERS {
        make_folder(&top.join(folder))?;
    }
    put_files(top, own_files().collect::<Vec<_>>().iter())
}

fn put_files<'a>(root: &Path, files: impl Iterator<Item = &'a (PathBuf, Vec<u8>)>) -> io::Result<()> {
    for (path, content) in files {
        let path = root.join(path);
        make_folder(path.parent().unwrap_or(root))?;
        fs::write(&path, content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644))?;
    }
    Ok(())
}

/// Makes the skeleton read-only for good, for whoever copies it.
fn seal() -> io::Result<()> {
    let tree = open_tree(Path::new(SKELETON), false)?;
    sys::set_mount_attributes(tree.as_fd(), MountAttributes::READ_ONLY.and(MountAttributes::NO_SUID), true)?;
    sys::set_mount_attributes(tree.as_fd(), MountAttributes::NO_DEVICES, false)?;
    for name in TOOLCHAIN.map(OsStr::new) {
        let path = Path::new(SKELETON).join(name);
        if fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_dir()) {
            let tree = open_tree(&path, false)?;
            sys::set_mount_attributes(tree.as_fd(), MountAttributes::NO_DEVICES, true)?;
        }
    }
    Ok(())
}

/// Folders with the usual permissions, whatever the worker's umask.
fn make_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(path)
}

fn ignore_existing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        other => other,
    }
}

/// A detached copy of the mounts at and below `path`.
pub(super) fn clone_tree(path: &Path) -> io::Result<OwnedFd> {
    open_tree(path, true)
}

fn open_tree(path: &Path, clone: bool) -> io::Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    if clone {
        flags |= OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::AT_RECURSIVE;
    }
    Ok(rustix::mount::open_tree(CWD, path, flags)?)
}

/// A detached tmpfs with these options.
pub(super) fn tmpfs(options: &[(&str, &str)]) -> io::Result<OwnedFd> {
    let context = rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    for (key, value) in options.iter().chain(&[("mode", "0755")]) {
        rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
    }
    rustix::mount::fsconfig_create(context.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(rustix::mount::fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)?)
}

/// Mounts a detached tree at `path`.
pub(super) fn attach(tree: &OwnedFd, path: &Path) -> io::Result<()> {
    Ok(rustix::mount::move_mount(tree.as_fd(), "", CWD, path, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)?)
}
