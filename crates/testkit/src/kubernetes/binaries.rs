//! The programs of Kubernetes, built from Debian's source package and kept for the next time.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::run;

/// What is built.
const PROGRAMS: [&str; 4] = ["kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet"];
/// Packages of Debian that the build or the cluster needs.
const PACKAGES: [&str; 12] = [
    "busybox-static",
    "curl",
    "docker.io",
    "dpkg-dev",
    "etcd-server",
    "golang-github-modern-go-reflect2-dev",
    "golang-go",
    "iproute2",
    "jq",
    "openssl",
    "rsync",
    "util-linux",
];
/// A library in the source whose copy is too old for Debian's Go: its programs crash when they encode a map. It is
/// replaced by the one that Debian packages.
const OLD_LIBRARY: &str = "github.com/modern-go/reflect2";
/// Where Debian's packages of Go libraries are.
const GO_PACKAGES: &str = "/usr/share/gocode/src";
/// Name of Debian's source package.
const SOURCE: &str = "kubernetes";

/// Where the built programs are.
#[derive(Clone, Debug)]
pub struct Binaries {
    folder: PathBuf,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

/// Installs what the cluster needs and builds Kubernetes, unless both were done before. `say` is told of each part that
/// takes long. Needs root, apt and a network the first time.
pub fn prepare(say: &dyn Fn(&str)) -> io::Result<Binaries> {
    if !PACKAGES.iter().all(|package| is_installed(package)) {
        say("install what Kubernetes is built from and runs on");
        install()?;
    }
    let cache = cache_folder()?;
    fs::create_dir_all(&cache)?;
    if let Some(built) = already_built(&cache)? {
        return Ok(built);
    }
    let work = cache.join(format!("kubernetes-build-{}", std::process::id()));
    let built = build(&cache, &work, say);
    _ = fs::remove_dir_all(&work);
    built
}

fn is_installed(package: &str) -> bool {
    let query =
        Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Abbrev}", package]).output();
    query.is_ok_and(|query| query.status.success() && query.stdout.starts_with(b"ii"))
}

/// ${XDG_CACHE_HOME:-~/.cache}/sagewai-test.
fn cache_folder() -> io::Result<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|folder| folder.is_absolute());
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache =
        cache.or_else(home).ok_or_else(|| io::Error::other("neither XDG_CACHE_HOME nor HOME is set"))?;
    Ok(cache.join("sagewai-test"))
}

/// A folder `kubernetes-VERSION` with all programs. It was renamed to this when it was complete.
fn already_built(cache: &Path) -> io::Result<Option<Binaries>> {
    for entry in fs::read_dir(cache)? {
        let folder = entry?.path();
        let named = folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("kubernetes-1"));
        if named && PROGRAMS.iter().all(|program| folder.join(program).is_file()) {
            return Ok(Some(Binaries { folder }));
        }
    }
    Ok(None)
}

fn apt() -> Command {
    let mut apt = Command::new("apt-get");
    // Other tests' components install at the same time.
    apt.args(["-q", "-y", "-o", "DPkg::Lock::Timeout=900"]).env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

fn install() -> io::Result<()> {
    let packages = |apt: &mut Command| run(apt.args(["install", "--no-install-recommends"]).args(PACKAGES));
    if packages(&mut apt()).is_ok() {
        return Ok(());
    }
    // The lists of packages may be absent or old.
    run(apt().arg("update"))?;
    packages(&mut apt())
}

fn build(cache: &Path, work: &Path, say: &dyn Fn(&str)) -> io::Result<Binaries> {
    say("fetch the source of Kubernetes");
    let tree = fetch(work)?;
    let version = version(&tree)?;
    say(&format!("build Kubernetes {version}: some eight minutes on two cores"));
    replace_library(&tree.join("vendor").join(OLD_LIBRARY), &Path::new(GO_PACKAGES).join(OLD_LIBRARY))?;
    // The build wants the tree where its packages' names say it is.
    let go = work.join("go");
    let place = go.join("src/k8s.io/kubernetes");
    fs::create_dir_all(place.parent().unwrap_or(&go))?;
    std::os::unix::fs::symlink(&tree, &place)?;
    let what = PROGRAMS.map(|program| format!("cmd/{program}")).join(" ");
    run(Command::new("make")
        .current_dir(&place)
        .arg(format!("WHAT={what}"))
        .env("PWD", &place)
        .env("GOPATH", &go)
        .env("GO111MODULE", "off")
        .env("GOFLAGS", "")
        .env("CGO_ENABLED", "0")
        .env("GOCACHE", work.join("go-cache"))
        .env_remove("MAKEFLAGS")
        .env_remove("CARGO_MAKEFLAGS"))?;
    let complete = work.join("programs");
    fs::create_dir(&complete)?;
    for program in PROGRAMS {
        fs::copy(tree.join("_output/bin").join(program), complete.join(program))?;
    }
    let folder = cache.join(format!("kubernetes-{version}"));
    match fs::rename(&complete, &folder) {
        // Someone else was faster.
        Err(_) if folder.is_dir() => {}
        renamed => renamed?,
    }
    Ok(Binaries { folder })
}

/// Puts the files of `new` in place of those of `old`.
fn replace_library(old: &Path, new: &Path) -> io::Result<()> {
    fs::remove_dir_all(old)?;
    fs::create_dir(old)?;
    for entry in fs::read_dir(new)? {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && !name.to_string_lossy().ends_with("_test.go") {
            fs::copy(entry.path(), old.join(name))?;
        }
    }
    Ok(())
}

/// Fetches the source package with lists and sources of its own: those of the machine stay as they are. The folder of the
/// unpacked tree.
fn fetch(work: &Path) -> io::Result<PathBuf> {
    let (parts, lists, source) = (work.join("sources"), work.join("lists"), work.join("source"));
    for folder in [&parts, &lists.join("partial"), &source] {
        fs::create_dir_all(folder)?;
    }
    let found = write_source_entries(Path::new("/etc/apt"), &parts)?;
    if found == 0 {
        return Err(io::Error::other(
            "no entry of Debian's archive is in /etc/apt: its source packages cannot be found",
        ));
    }
    let option = |name: &str, value: &Path| ["-o".to_owned(), format!("{name}={}", value.display())];
    let own: Vec<String> = [
        option("Dir::Etc::SourceParts", &parts),
        option("Dir::Etc::SourceList", Path::new("/dev/null")),
        option("Dir::State::Lists", &lists),
        option("APT::Sandbox::User", Path::new("root")),
    ]
    .concat();
    run(apt().args(&own).arg("update"))?;
    run(apt().args(&own).args(["source", SOURCE]).current_dir(&source))?;
    let unpacked = fs::read_dir(&source)?.flatten().map(|entry| entry.path()).find(|path| path.is_dir());
    unpacked.ok_or_else(|| io::Error::other("apt-get source unpacked nothing"))
}

/// Turns the machine's entries for packages into entries for sources; how many files were written.
fn write_source_entries(etc: &Path, parts: &Path) -> io::Result<usize> {
    let mut files = vec![etc.join("sources.list")];
    files.extend(
        fs::read_dir(etc.join("sources.list.d")).into_iter().flatten().flatten().map(|entry| entry.path()),
    );
    let mut written = 0;
    for file in files {
        let (Ok(text), Some(name)) = (fs::read_to_string(&file), file.file_name()) else { continue };
        let entries = match file.extension().and_then(|extension| extension.to_str()) {
            Some("list") => source_lines(&text),
            Some("sources") => source_stanzas(&text),
            _ => continue,
        };
        if !entries.trim().is_empty() {
            fs::write(parts.join(name), entries)?;
            written += 1;
        }
    }
    Ok(written)
}

/// The one-line format: `deb [options] URI suite component…`.
fn source_lines(text: &str) -> String {
    let entries = text.lines().filter_map(|line| line.strip_prefix("deb "));
    entries.map(|rest| format!("deb-src {rest}\n")).collect()
}

/// The format of stanzas: fields `Types`, `URIs` and so on.
fn source_stanzas(text: &str) -> String {
    let fields = text.lines().map(|line| match line.split_once(':') {
        Some(("Types", _)) => "Types: deb-src\n".to_owned(),
        _ => format!("{line}\n"),
    });
    fields.collect()
}

/// The version in the head of debian/changelog, without what Debian added for its own build.
fn version(tree: &Path) -> io::Result<String> {
    let changelog = Command::new("dpkg-parsechangelog")
        .args(["--show-field", "Version", "--file"])
        .arg(tree.join("debian/changelog"))
        .stdin(Stdio::null())
        .output()?;
    let version = String::from_utf8_lossy(&changelog.stdout).trim().replace(':', "_");
    if version.is_empty() {
        Err(io::Error::other("the source of Kubernetes has no version"))
    } else {
        Ok(version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_for_packages_become_entries_for_sources() {
        let lines =
            "# deb http://old.example/ a main\ndeb [arch=amd64] http://mirror.example/debian stable main\n";
        assert_eq!(source_lines(lines), "deb-src [arch=amd64] http://mirror.example/debian stable main\n");
        let stanza = "Types: deb\nURIs: http://mirror.example/debian\nSuites: stable\n";
        let expected = "Types: deb-src\nURIs: http://mirror.example/debian\nSuites: stable\n";
        assert_eq!(source_stanzas(stanza), expected);
    }
}
