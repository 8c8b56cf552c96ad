//! Whether the sandbox's interfaces lead anywhere: a pod always has one, and a policy has to close it. The guest tries.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use protocol::frame::FailureKind;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::failure::Failure;

/// How long an address may take to answer. What is closed well does not answer at all, so every start waits this long.
const ANSWER_LIMIT: Duration = Duration::from_millis(400);
/// How long a policy may take to come into force for a new pod.
const POLICY_LIMIT: Duration = Duration::from_secs(5);
/// Pause between two tries.
const RETRY: Duration = Duration::from_millis(250);
/// The metadata service of most clouds: it hands out the machine's credentials.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
/// Port of the gateway that is tried. Whether anything listens does not matter: a refusal is an answer too.
const GATEWAY_PORT: u16 = 53;

/// What there is beyond loopback.
pub(crate) enum Reach {
    /// There is no other interface.
    NoInterface,
    /// There are interfaces, and nothing answers.
    Nothing,
    /// There are interfaces, and the step gets no internet sockets to use them with.
    NoSockets,
    /// There are interfaces, and nobody asked what they reach.
    Untried,
}

/// Tries `addresses`, the Kubernetes API, the metadata service and the gateways until none answers any more; refuses
/// to serve if one goes on answering.
pub(crate) fn require_closed(addresses: &[SocketAddr]) -> Result<Reach, Failure> {
    let mut all = addresses.to_vec();
    all.push(METADATA);
    all.extend(kubernetes_api());
    let routes = std::fs::read_to_string("/proc/self/net/route").unwrap_or_default();
    all.extend(gateways(&routes).map(|gateway| SocketAddr::from((gateway, GATEWAY_PORT))));
    let began = Instant::now();
    loop {
        let answering = first_answer(&all).map_err(|error| {
            Failure::new(FailureKind::Isolation, format!("the network cannot be tried: {error}"))
        })?;
        let Some(address) = answering else { return Ok(Reach::Nothing) };
        if began.elapsed() > POLICY_LIMIT {
            return Err(Failure::new(FailureKind::Isolation, open(address)));
        }
        std::thread::sleep(RETRY);
    }
}

fn open(address: SocketAddr) -> String {
    format!(
        "the sandbox's network is open: {address} answers from inside. No step starts here. A NetworkPolicy that denies \
         all is in place, so the cluster's network plugin does not enforce it: use one that does (Calico, Cilium, …)"
    )
}

/// The address of the API that every pod is told in its environment.
fn kubernetes_api() -> Option<SocketAddr> {
    let host = std::env::var("KUBERNETES_SERVICE_HOST").ok()?.parse().ok()?;
    let port = std::env::var("KUBERNETES_SERVICE_PORT").ok()?.parse().ok()?;
    Some(SocketAddr::new(host, port))
}

/// Gateways in the kernel's table of IPv4 routes: interface, destination, gateway, … with addresses as hexadecimal
/// numbers of this machine's byte order.
fn gateways(routes: &str) -> impl Iterator<Item = Ipv4Addr> {
    routes.lines().skip(1).filter_map(|line| {
        let gateway = u32::from_str_radix(line.split_whitespace().nth(2)?, 16).ok()?;
        (gateway != 0).then(|| Ipv4Addr::from(gateway.to_ne_bytes()))
    })
}

/// The first address that answers, be it with a refusal; `None` if none does in time.
fn first_answer(addresses: &[SocketAddr]) -> io::Result<Option<SocketAddr>> {
    let mut waiting: Vec<(SocketAddr, OwnedFd)> = Vec::new();
    for address in addresses {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
        let socket = match rustix::net::socket_with(family, SocketType::STREAM, flags, None) {
            Ok(socket) => socket,
            // The sandbox has no such family at all.
            Err(Errno::AFNOSUPPORT) => continue,
            Err(error) => return Err(error.into()),
        };
        match rustix::net::connect(&socket, address) {
            Err(Errno::INPROGRESS) => waiting.push((*address, socket)),
            outcome if is_answer(outcome) => return Ok(Some(*address)),
            _ => {}
        }
    }
    let began = Instant::now();
    while !waiting.is_empty()
        && let Some(left) = ANSWER_LIMIT.checked_sub(began.elapsed())
    {
        let mut polled: Vec<_> =
            waiting.iter().map(|(_, socket)| PollFd::new(socket, PollFlags::OUT)).collect();
        let left = Timespec { tv_sec: 0, tv_nsec: left.subsec_nanos().into() };
        match rustix::event::poll(&mut polled, Some(&left)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled.iter().map(|polled| !polled.revents().is_empty()).collect();
        for place in (0..ready.len()).rev().filter(|place| ready[*place]) {
            let (address, socket) = waiting.swap_remove(place);
            if is_answer(rustix::net::sockopt::socket_error(&socket)?) {
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

/// Whether the other side, or something on the way that lets packets through, has spoken.
fn is_answer(outcome: Result<(), Errno>) -> bool {
    matches!(outcome, Ok(()) | Err(Errno::CONNREFUSED | Errno::CONNRESET))
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_listener_and_a_refusal_are_answers() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(first_answer(&[address]).unwrap(), Some(address));
        drop(listener);
        assert_eq!(first_answer(&[address]).unwrap(), Some(address), "nothing listens, yet the host answers");
    }

    #[test]
    fn silence_is_none() {
        // A listener whose queue is full drops what comes, as a closed network does.
        let listener = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
        rustix::net::bind(&listener, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        rustix::net::listen(&listener, 0).unwrap();
        let address = rustix::net::getsockname(&listener).unwrap();
        let address = SocketAddr::try_from(address).unwrap();
        let _queue: Vec<_> = std::iter::from_fn(|| {
            std::net::TcpStream::connect_timeout(&address, Duration::from_millis(100)).ok()
        })
        .take(16)
        .collect();
        assert_eq!(first_answer(&[address]).unwrap(), None);
        assert_eq!(first_answer(&[]).unwrap(), None);
    }

    #[test]
    fn gateways_are_read_from_the_table_of_routes() {
        let routes = "Iface\tDestination\tGateway \tFlags\neth0\t00000000\t0101A8C0\t0003\neth0\t0001A8C0\t00000000\t0001\n";
        let expected = if cfg!(target_endian = "little") { [192, 168, 1, 1] } else { [1, 1, 168, 192] };
        assert!(gateways(routes).eq([Ipv4Addr::from(expected)]));
    }
}
