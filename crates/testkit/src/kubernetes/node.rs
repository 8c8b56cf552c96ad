//! The one node: a Docker of its own and a kubelet.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use super::authority::Authority;
use super::binaries::Binaries;
use super::process::{Running, free_port, listens, run};
use super::{DOCKER_SOCKET, NODE, network};

/// The container that holds a pod's namespaces.
const PAUSE_IMAGE: &str = "sagewai-test/pause:1";

/// Its program. A first process heeds no signal that it has no handler for, so it has one.
const PAUSE: &str =
    r#"["/bin/busybox","sh","-c","trap 'exit 0' TERM; while :; do /bin/busybox sleep 3600 & wait $!; done"]"#;

/// Starts the kubelet again when it ends, as a node's init does: tests kill it.
const SUPERVISOR: &str = r#"trap 'kill $!; wait $!; exit' TERM; while :; do "$@" & wait $!; sleep 1; done"#;

/// Settings of the whole machine that a kubelet changes when it starts; they are put back.
const KERNEL_SETTINGS: [&str; 3] =
    ["/proc/sys/vm/overcommit_memory", "/proc/sys/kernel/panic", "/proc/sys/kernel/panic_on_oops"];

/// Clears a negative oom score, which a kubelet asks for and an unprivileged machine refuses, and calls runc.
const RUNC: &str = r#"#!/bin/bash
bundle=.
for argument in "$@"; do
  [ "$last" = --bundle ] && bundle=$argument
  last=$argument
done
file=$bundle/config.json
if [ -f "$file" ] && jq -e '.process.oomScoreAdj < 0' "$file" >/dev/null 2>&1; then
  jq '.process.oomScoreAdj = 0' "$file" >"$file.new" && mv "$file.new" "$file"
fi
exec runc "$@"
"#;

/// Starts Docker and the kubelet.
pub(super) fn start(
    binaries: &Binaries,
    authority: &Authority,
    folder: &Path,
    api: u16,
    running: &mut Vec<Running>,
) -> io::Result<()> {
    debug_assert!(listens(api), "the API serves before its node starts");
    start_docker(folder, running)?;
    import_pause(folder)?;
    network::install(folder)?;
    start_kubelet(binaries, authority, folder, running)
}

fn executable(path: &Path, content: &str) -> io::Result<()> {
    fs::write(path, content)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn start_docker(folder: &Path, running: &mut Vec<Running>) -> io::Result<()> {
    let runc = folder.join("runc-without-scores");
    executable(&runc, RUNC)?;
    let socket = folder.join(DOCKER_SOCKET);
    let place = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        format!("--host=unix://{}", socket.display()),
        format!("--data-root={}", place("docker")),
        format!("--exec-root={}", place("docker-exec")),
        format!("--pidfile={}", place("docker.pid")),
        format!("--config-file={}", place("docker.json")),
        format!("--add-runtime=test={}", runc.display()),
        "--default-runtime=test".to_owned(),
        "--exec-opt=native.cgroupdriver=cgroupfs".to_owned(),
        "--storage-driver=overlay2".to_owned(),
        // The network of pods is the plugin's; the machine's own rules stay as they are.
        "--bridge=none".to_owned(),
        "--iptables=false".to_owned(),
        "--ip-forward=false".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    fs::write(folder.join("docker.json"), "{}")?;
    running.push(Running::start("dockerd", folder, Path::new("dockerd"), arguments, &[])?);
    running.last_mut().expect("just pushed").await_until(|| UnixStream::connect(&socket).is_ok())
}

/// `docker` with the node's daemon.
fn docker(folder: &Path) -> Command {
    let mut docker = Command::new("docker");
    docker.arg("--host").arg(format!("unix://{}", folder.join(DOCKER_SOCKET).display()));
    docker
}

fn import_pause(folder: &Path) -> io::Result<()> {
    let root = folder.join("pause");
    fs::create_dir_all(root.join("bin"))?;
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new).into_iter().find(|path| path.is_file());
    let busybox = busybox.ok_or_else(|| io::Error::other("busybox is not installed"))?;
    fs::copy(busybox, root.join("bin/busybox"))?;
    let archive = folder.join("pause.tar");
    run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    let entry = format!("ENTRYPOINT {PAUSE}");
    run(docker(folder).args(["import", "--change", &entry]).arg(&archive).arg(PAUSE_IMAGE))
}

fn start_kubelet(
    binaries: &Binaries,
    authority: &Authority,
    folder: &Path,
    running: &mut Vec<Running>,
) -> io::Result<()> {
    let (port, root) = (free_port()?, folder.join("kubelet"));
    fs::create_dir_all(&root)?;
    let (config, resolver) = (folder.join("kubelet.yaml"), folder.join("resolv.conf"));
    fs::write(&resolver, "")?;
    fs::write(&config, kubelet_config(port, &authority.path("ca.crt"), &resolver, &root))?;
    let place = |name: &str| folder.join(name).display().to_string();
    let arguments = [
        format!("--config={}", config.display()),
        format!("--kubeconfig={}", place("kubelet.kubeconfig")),
        format!("--hostname-override={NODE}"),
        format!("--root-dir={}", root.display()),
        format!("--cert-dir={}", root.join("pki").display()),
        "--container-runtime=docker".to_owned(),
        format!("--docker-endpoint=unix://{}", place(DOCKER_SOCKET)),
        format!("--experimental-dockershim-root-directory={}", place("dockershim")),
        format!("--pod-infra-container-image={PAUSE_IMAGE}"),
        "--network-plugin=cni".to_owned(),
        format!("--cni-bin-dir={}", place(network::PROGRAMS)),
        format!("--cni-conf-dir={}", place(network::CONFIGURATION)),
        format!("--cni-cache-dir={}", place("cni-cache")),
        "--runtime-cgroups=/".to_owned(),
        "--kubelet-cgroups=/".to_owned(),
        "--v=2".to_owned(),
    ];
    let program = binaries.program("kubelet");
    let script = ["-c", SUPERVISOR, "kubelet-supervisor"].map(str::to_owned);
    let arguments = script.into_iter().chain([program.display().to_string()]).chain(arguments);
    running.push(Running::start("kubelet", folder, Path::new("sh"), arguments, &[])?);
    running.last_mut().expect("just pushed").await_until(|| listens(port))
}

/// Settings of the machine as they are; [`KernelSettings::restore`] once the kubelet has changed them.
pub(super) struct KernelSettings(Vec<(&'static str, Vec<u8>)>);

impl KernelSettings {
    pub(super) fn read() -> io::Result<Self> {
        KERNEL_SETTINGS
            .map(|path| Ok((path, fs::read(path)?)))
            .into_iter()
            .collect::<io::Result<_>>()
            .map(Self)
    }

    pub(super) fn restore(&self) -> io::Result<()> {
        self.0.iter().try_for_each(|(path, before)| fs::write(path, before))
    }
}

fn kubelet_config(port: u16, authority: &str, resolver: &Path, root: &Path) -> String {
    format!(
        "apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 127.0.0.1
port: {port}
readOnlyPort: 0
healthzPort: 0
authentication:
  anonymous: {{enabled: false}}
  webhook: {{enabled: true}}
  x509: {{clientCAFile: {authority}}}
authorization: {{mode: Webhook}}
cgroupDriver: cgroupfs
cgroupsPerQOS: false
enforceNodeAllocatable: []
failSwapOn: false
# The machine's firewall is not ours.
makeIPTablesUtilChains: false
resolvConf: {}
volumePluginDir: {}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard: {{memory.available: 10Mi, nodefs.available: 10Mi, nodefs.inodesFree: '100'}}
syncFrequency: 10s
# By default a kubelet says five things a second to the API: with a dozen pods everyone waits for that.
kubeAPIQPS: 200
kubeAPIBurst: 400
eventRecordQPS: 200
eventBurst: 400
serializeImagePulls: false
# Later versions do both without being asked: a memory volume has its size, and this setting is a safe one.
featureGates: {{SizeMemoryBackedVolumes: true}}
allowedUnsafeSysctls: [net.ipv4.ip_unprivileged_port_start]
",
        resolver.display(),
        root.join("volume-plugins").display(),
    )
}

/// Removes the containers of all pods: they would outlive their Docker.
pub(super) fn remove_pods(folder: &Path) {
    let listed = docker(folder).args(["ps", "--all", "--quiet"]).stdin(Stdio::null()).output();
    let Ok(listed) = listed else { return };
    let text = String::from_utf8_lossy(&listed.stdout).into_owned();
    let containers: Vec<&str> = text.split_whitespace().collect();
    if !containers.is_empty() {
        _ = run(docker(folder).args(["rm", "--force"]).args(containers));
    }
}

/// Unmounts what the kubelet mounted for pods.
pub(super) fn unmount(folder: &Path) {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let prefix = folder.display().to_string();
    let below =
        mounts.lines().filter_map(|line| line.split(' ').nth(1)).filter(|place| place.starts_with(&prefix));
    for place in below.collect::<Vec<_>>().into_iter().rev() {
        _ = run(Command::new("umount").arg("--lazy").arg(place));
    }
}
