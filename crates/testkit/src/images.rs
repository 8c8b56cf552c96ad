//! Images for tests, made here since none can be pulled: from programs of this machine, by Docker's own client.

use std::io;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::dockerd::{client, output};

/// A shell and what belongs to it: a static busybox under all its names.
pub const BUSYBOX: &str = "sagewai-test/busybox:1";
/// This machine's Python with the libraries that it needs, and a shell.
pub const PYTHON: &str = "sagewai-test/python:1";
/// One static program and nothing else, as a distroless image: no shell, no /etc, no /tmp. Its entrypoint says `hello`.
pub const DISTROLESS: &str = "sagewai-test/distroless:1";
/// An image that lays traps: links and files where folders of a sandbox belong, a health check, a volume.
pub const HOSTILE: &str = "sagewai-test/hostile:1";

/// Where Debian's busybox-static is.
const PROGRAM: &str = "/bin/busybox";
/// Parts of Python's library that no test imports, and that are large.
const LEFT_OUT: [&str; 7] =
    ["test", "idlelib", "lib2to3", "tkinter", "ensurepip", "turtledemo", "dist-packages"];

/// Makes all images at the daemon at `host`, below `folder`; those that are there stay.
pub fn make(host: &str, folder: &Path) -> io::Result<()> {
    for (name, lay_out, changes) in recipes() {
        if client(host).args(["image", "inspect", name]).output()?.status.success() {
            continue;
        }
        let root = folder.join(name.replace(['/', ':'], "-"));
        if root.exists() {
            std::fs::remove_dir_all(&root)?;
        }
        std::fs::create_dir_all(&root)?;
        lay_out(&root)?;
        import(host, &root, name, changes)?;
        std::fs::remove_dir_all(&root)?;
    }
    Ok(())
}

/// Pushes an image to the registry at `registry` (`host:port`), gives its name there.
pub fn push(host: &str, image: &str, registry: &str) -> io::Result<String> {
    let there = format!("{registry}/{image}");
    output(client(host).args(["tag", image, &there]))?;
    output(client(host).args(["push", "--quiet", &there]))?;
    Ok(there)
}

/// An image for another architecture, gives its name; `folder` is empty.
pub fn foreign(host: &str, folder: &Path) -> io::Result<String> {
    let name = "sagewai-test/foreign:1".to_owned();
    let empty = [0; 1024];
    std::fs::write(folder.join("layer.tar"), empty)?;
    let sum = output(Command::new("sha256sum").arg(folder.join("layer.tar")))?;
    let digest = sum.split(' ').next().unwrap_or_default();
    let config = serde_json::json!({
        "architecture": "riscv64", "os": "linux", "config": {},
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
    });
    std::fs::write(folder.join("config.json"), config.to_string())?;
    let manifest =
        serde_json::json!([{ "Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"] }]);
    std::fs::write(folder.join("manifest.json"), manifest.to_string())?;
    let archive = folder.join("image.tar");
    let files = ["manifest.json", "config.json", "layer.tar"];
    output(Command::new("tar").arg("-C").arg(folder).arg("-cf").arg(&archive).args(files))?;
    output(client(host).arg("load").arg("--input").arg(&archive))?;
    Ok(name)
}

type Recipe = (&'static str, fn(&Path) -> io::Result<()>, &'static [&'static str]);

fn recipes() -> [Recipe; 4] {
    [
        (BUSYBOX, busybox, &["ENV GREETING=hello", "CMD [\"sh\"]"]),
        (PYTHON, python, &["ENV PATH=/usr/bin:/bin", "WORKDIR /usr", "CMD [\"python3\"]"]),
        (DISTROLESS, distroless, &["ENTRYPOINT [\"/busybox\", \"echo\", \"hello\"]"]),
        (
            HOSTILE,
            hostile,
            &["HEALTHCHECK --interval=1s CMD id > /data/checked", "VOLUME /data", "USER 1234"],
        ),
    ]
}

fn busybox(root: &Path) -> io::Result<()> {
    let folder = root.join("bin");
    std::fs::create_dir_all(&folder)?;
    std::fs::copy(PROGRAM, folder.join("busybox"))?;
    for name in output(Command::new(PROGRAM).arg("--list"))?.lines().filter(|name| *name != "busybox") {
        symlink("busybox", folder.join(name))?;
    }
    std::fs::create_dir_all(root.join("etc"))?;
    std::fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n")
}

fn python(root: &Path) -> io::Result<()> {
    busybox(root)?;
    let facts = "import sys, sysconfig; print(sys.executable, sysconfig.get_path('stdlib'))";
    let said = output(Command::new("/usr/bin/python3").args(["-c", facts]))?;
    let (program, library) =
        said.trim().split_once(' ').ok_or_else(|| io::Error::other("python3 does not say where it is"))?;
    let mut copy = Command::new("tar");
    copy.args(["-C", "/", "-cf", "-", "--exclude=__pycache__"]);
    copy.args(LEFT_OUT.map(|name| format!("--exclude={library}/{name}")));
    let real = std::fs::canonicalize(program)?;
    let mut files = vec![program.to_owned(), real.display().to_string(), library.to_owned()];
    files.dedup();
    let copied = copy.args(files.iter().map(|file| file.trim_start_matches('/')));
    unpack(copied, root)?;
    let modules = format!("{library}/lib-dynload");
    let listed = std::fs::read_dir(&modules)?.flatten().map(|entry| entry.path());
    let linked = output(Command::new("ldd").arg(&real).args(listed))?;
    let libraries: std::collections::BTreeSet<&str> =
        linked.split_whitespace().filter(|word| word.starts_with('/') && !word.ends_with(':')).collect();
    output(Command::new("cp").args(["--parents", "--dereference"]).args(libraries).arg(root)).map(drop)
}

fn unpack(packing: &mut Command, root: &Path) -> io::Result<()> {
    let mut packing = packing.stdout(Stdio::piped()).spawn()?;
    let archive = packing.stdout.take().expect("a pipe was asked for");
    let unpacked = Command::new("tar").arg("-C").arg(root).args(["-xf", "-"]).stdin(archive).status()?;
    if packing.wait()?.success() && unpacked.success() {
        Ok(())
    } else {
        Err(io::Error::other("tar cannot copy python3"))
    }
}

fn distroless(root: &Path) -> io::Result<()> {
    std::fs::copy(PROGRAM, root.join("busybox")).map(drop)
}

/// Every folder that a sandbox mounts on is a link out, or holds something already.
fn hostile(root: &Path) -> io::Result<()> {
    busybox(root)?;
    std::fs::remove_file(root.join("etc/passwd"))?;
    std::fs::remove_dir(root.join("etc"))?;
    symlink("/../../../srv/elsewhere", root.join("etc"))?;
    symlink("../../../../../../mnt/elsewhere", root.join("tmp"))?;
    symlink("/../../opt/elsewhere", root.join("home"))?;
    std::fs::create_dir_all(root.join(".sagewai"))?;
    // A false guest that was there first.
    symlink("/bin/busybox", root.join(".sagewai/guest"))?;
    std::fs::write(root.join(".sagewai/complete"), "")
}

fn import(host: &str, root: &Path, name: &str, changes: &[&str]) -> io::Result<()> {
    let mut packing = Command::new("tar")
        .arg("-C")
        .arg(root)
        .args(["--owner=0", "--group=0", "--numeric-owner", "-cf", "-", "."])
        .stdout(Stdio::piped())
        .spawn()?;
    let archive = packing.stdout.take().expect("a pipe was asked for");
    let mut import = client(host);
    import.arg("import");
    for change in changes {
        import.args(["--change", change]);
    }
    let imported = import.args(["-", name]).stdin(archive).stdout(Stdio::null()).status()?;
    if packing.wait()?.success() && imported.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!("docker import of {name} failed")))
    }
}
