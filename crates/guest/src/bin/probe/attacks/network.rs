//! Networks beyond the tunnel.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::told;
use crate::attempt::{attempt, leaked};
use crate::tunnels::resolve;

/// How long an address may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);
/// A question for the address of `a.gt`.
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x02gt\0\0\x01\0\x01";

/// `PROBE_PORT` is a port of the host's loopback, `PROBE_ABSTRACT` the name of an abstract socket of the host;
/// `PROBE_LOOPBACK_ONLY` is set where no interface but loopback may be there.
pub(super) fn beyond(_: i32) {
    let port: u16 = told("PROBE_PORT").parse().unwrap_or(9);
    if !told("PROBE_LOOPBACK_ONLY").is_empty() {
        interfaces();
    }
    let mut hosts: Vec<String> =
        ["169.254.169.254", "169.254.170.2", "10.0.0.1", "10.96.0.1", "172.17.0.1", "192.168.0.1", "8.8.8.8"]
            .map(str::to_owned)
            .to_vec();
    hosts.extend(["[fd00:ec2::254]", "[2001:4860:4860::8888]", "[fe80::1]"].map(str::to_owned));
    hosts.extend(gateways());
    for host in &hosts {
        for where_to in [80, 443, 53, port] {
            attempt(&format!("TCP {host}:{where_to}"), || answers(&format!("{host}:{where_to}"), true));
        }
    }
    // On loopback a refusal is the sandbox's own.
    for host in ["127.0.0.1", "127.0.0.2", "0.0.0.0", "[::1]", "[::ffff:127.0.0.1]"] {
        attempt(&format!("TCP {host}:{port}"), || answers(&format!("{host}:{port}"), false));
    }
    for host in [
        "8.8.8.8:53",
        "1.1.1.1:53",
        "10.0.0.2:53",
        "10.96.0.10:53",
        "169.254.169.253:53",
        "169.254.169.123:123",
    ] {
        attempt(&format!("UDP to {host}"), || {
            let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
            socket.set_read_timeout(Some(PATIENCE)).ok()?;
            socket.send_to(QUESTION, host).ok()?;
            let mut answer = [0; 512];
            socket.recv(&mut answer).ok().map(|bytes| format!("{bytes} bytes"))
        });
    }
    for path in [
        "/var/run/docker.sock",
        "/run/docker.sock",
        "/run/containerd/containerd.sock",
        "/run/dbus/system_bus_socket",
        "/run/systemd/private",
        "/run/podman/podman.sock",
        "/var/lib/kubelet/pod-resources/kubelet.sock",
        "/tmp/.X11-unix/X0",
    ] {
        attempt(&format!("local socket {path}"), || {
            UnixStream::connect(path).ok().map(|_| "connected".to_owned())
        });
    }
    let name = told("PROBE_ABSTRACT");
    attempt("abstract socket of the host", || {
        let address = std::os::unix::net::SocketAddr::from_abstract_name(name).ok()?;
        UnixStream::connect_addr(&address).ok().map(|_| "connected".to_owned())
    });
    for name in [
        "example.com",
        "metadata.google.internal",
        "localhost.localdomain",
        "host.docker.internal",
        "kubernetes.default.svc",
    ] {
        attempt(&format!("look up {name}"), || {
            let answer = resolve(name);
            answer.starts_with(|c: char| c.is_ascii_digit()).then_some(answer)
        });
    }
}

/// What came of a connection. A refusal of another machine is an answer too: it was reached.
fn answers(address: &str, refusal_counts: bool) -> Option<String> {
    let address: SocketAddr = address.parse().ok()?;
    match TcpStream::connect_timeout(&address, PATIENCE) {
        Ok(_) => Some("connected".to_owned()),
        Err(error) if refusal_counts && error.kind() == ErrorKind::ConnectionRefused => {
            Some("it refuses".to_owned())
        }
        Err(_) => None,
    }
}

fn interfaces() {
    let devices = std::fs::read_to_string("/proc/self/net/dev").unwrap_or_default();
    for device in devices.lines().skip(2).filter_map(|line| line.split_once(':')) {
        if device.0.trim() != "lo" {
            leaked(&format!("interface {}", device.0.trim()));
        }
    }
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    for route in routes.lines().skip(1) {
        leaked(&format!("route {route}"));
    }
}

/// Gateways of the routing table: machines that are certainly there.
fn gateways() -> Vec<String> {
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    let gateway = |line: &str| {
        let number = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        (number != 0).then(|| std::net::Ipv4Addr::from(number.swap_bytes()).to_string())
    };
    routes.lines().skip(1).filter_map(gateway).collect()
}
