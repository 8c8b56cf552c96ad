//! etcd, API server, scheduler and controller manager.

use std::io;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use super::authority::Authority;
use super::binaries::Binaries;
use super::process::{LOOK, Running, START_LIMIT, free_port, listens};
use super::{ETCD, NODE};

/// Controllers that the tests need: the others would only take time.
const CONTROLLERS: &str = "garbagecollector,namespace,nodelifecycle,podgc,resourcequota,root-ca-cert-publisher,\
                           serviceaccount,serviceaccount-token";
/// An address for documentation: nothing goes there, and a loopback address is refused.
const ADVERTISED: &str = "192.0.2.1";

/// Where the parts listen, on loopback.
pub(super) struct Ports {
    pub(super) api: u16,
}

/// Starts the control plane and waits for its API.
pub(super) fn start(
    binaries: &Binaries,
    authority: &Authority,
    folder: &Path,
    running: &mut Vec<Running>,
) -> io::Result<Ports> {
    let (etcd, peers, api) = (free_port()?, free_port()?, free_port()?);
    authority.write_kubeconfigs(folder, api)?;
    start_etcd(folder, etcd, peers, running)?;
    start_api(binaries, authority, folder, etcd, api, running)?;
    let file = |name: &str| folder.join(name).display().to_string();
    let common = |kubeconfig: &str| -> io::Result<Vec<String>> {
        Ok(vec![
            format!("--kubeconfig={}", file(kubeconfig)),
            "--bind-address=127.0.0.1".to_owned(),
            "--port=0".to_owned(),
            format!("--secure-port={}", free_port()?),
            format!("--cert-dir={}", authority.folder.display()),
            "--leader-elect=false".to_owned(),
            "--kube-api-qps=200".to_owned(),
            "--kube-api-burst=400".to_owned(),
        ])
    };
    let scheduler = binaries.program("kube-scheduler");
    running.push(Running::start("kube-scheduler", folder, &scheduler, common("scheduler.kubeconfig")?, &[])?);
    let mut arguments = common("controllers.kubeconfig")?;
    arguments.extend([
        format!("--controllers={CONTROLLERS}"),
        format!("--service-account-private-key-file={}", authority.path("accounts.key")),
        format!("--root-ca-file={}", authority.path("ca.crt")),
    ]);
    let controllers = binaries.program("kube-controller-manager");
    running.push(Running::start("kube-controller-manager", folder, &controllers, arguments, &[])?);
    Ok(Ports { api })
}

fn start_etcd(folder: &Path, port: u16, peers: u16, running: &mut Vec<Running>) -> io::Result<()> {
    let (clients, peers) = (format!("http://127.0.0.1:{port}"), format!("http://127.0.0.1:{peers}"));
    let arguments = [
        format!("--data-dir={}", folder.join(ETCD).display()),
        format!("--listen-client-urls={clients}"),
        format!("--advertise-client-urls={clients}"),
        format!("--listen-peer-urls={peers}"),
        format!("--initial-advertise-peer-urls={peers}"),
        format!("--initial-cluster=default={peers}"),
    ];
    running.push(Running::start("etcd", folder, Path::new("etcd"), arguments, &[])?);
    last(running).await_until(|| listens(port))
}

fn start_api(
    binaries: &Binaries,
    authority: &Authority,
    folder: &Path,
    etcd: u16,
    port: u16,
    running: &mut Vec<Running>,
) -> io::Result<()> {
    let key = |name: &str| authority.path(name);
    let arguments = [
        format!("--etcd-servers=http://127.0.0.1:{etcd}"),
        "--bind-address=127.0.0.1".to_owned(),
        format!("--secure-port={port}"),
        format!("--advertise-address={ADVERTISED}"),
        "--endpoint-reconciler-type=none".to_owned(),
        "--service-cluster-ip-range=10.97.0.0/24".to_owned(),
        format!("--token-auth-file={}", key("tokens.csv")),
        "--anonymous-auth=false".to_owned(),
        "--authorization-mode=Node,RBAC".to_owned(),
        // What Pod Security "restricted" is in later versions; a test's namespace says what it admits.
        "--enable-admission-plugins=NodeRestriction,PodSecurityPolicy".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        format!("--service-account-signing-key-file={}", key("accounts.key")),
        format!("--service-account-key-file={}", key("accounts.key")),
        format!("--tls-cert-file={}", key("server.crt")),
        format!("--tls-private-key-file={}", key("server.key")),
        format!("--client-ca-file={}", key("ca.crt")),
        format!("--kubelet-client-certificate={}", key("kubelet-client.crt")),
        format!("--kubelet-client-key={}", key("kubelet-client.key")),
        "--kubelet-preferred-address-types=Hostname".to_owned(),
        format!("--cert-dir={}", authority.folder.display()),
        "--profiling=false".to_owned(),
    ];
    let program = binaries.program("kube-apiserver");
    running.push(Running::start("kube-apiserver", folder, &program, arguments, &[])?);
    last(running).await_until(|| ask(authority, port, "/readyz").is_some_and(|answer| answer == "ok"))
}

fn last(running: &mut [Running]) -> &mut Running {
    running.last_mut().expect("it was just pushed")
}

/// What the API answers to the administrator at `path`, if that is a success.
fn ask(authority: &Authority, port: u16, path: &str) -> Option<String> {
    let output = Command::new("curl")
        .args(["--silent", "--fail", "--max-time", "5", "--cacert"])
        .arg(authority.file("ca.crt"))
        .arg("--header")
        .arg(format!("Authorization: Bearer {}", authority.token()))
        .arg(format!("https://127.0.0.1:{port}{path}"))
        .stdin(Stdio::null())
        .output()
        .ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Waits until pods can be scheduled.
pub(super) fn await_node(authority: &Authority, port: u16) -> io::Result<()> {
    let began = Instant::now();
    let path = format!("/api/v1/nodes/{NODE}");
    loop {
        let node = ask(authority, port, &path).unwrap_or_default().replace([' ', '\n'], "");
        if node.contains(r#""reason":"KubeletReady""#) && !node.contains("node.kubernetes.io/not-ready") {
            return Ok(());
        }
        if began.elapsed() > START_LIMIT {
            return Err(io::Error::other(format!("the node is not ready after {START_LIMIT:?}: {node}")));
        }
        std::thread::sleep(LOOK);
    }
}
