//! The network of the step: a resolver for listed names and a listener for each of their ports, on loopback addresses.
//! What connects there is carried through the channel by the worker. There is no other way out.

mod asking;
mod dns;
mod names;
pub(crate) mod reach;
mod tunnel;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::rc::Rc;

use protocol::frame::{FailureKind, FromGuest, MAX_DATA_BYTES, MAX_TUNNELS};
use protocol::step::NetworkRule;
use rustix::event::PollFlags;

use crate::channel::Channel;
use crate::failure::Failure;
use crate::interests::{Interests, Source};
use crate::redact::{Patterns, Redactor};
use crate::sys;
use asking::{Asking, Heard};
use dns::{Answer, Asked};
use names::{Lookup, Names, Place};
pub(crate) use reach::Reach;
use tunnel::{Next, Tunnel};

/// Where the step's resolver is; /etc/resolv.conf in the sandbox names it.
const RESOLVER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 77, 0, 1)), 53);
/// Connections at once. It is below what the worker admits, since the worker may learn of an end later than of the
/// connection that takes its place.
const MOST_TUNNELS: usize = MAX_TUNNELS / 2;
/// Listeners at once.
const MOST_LISTENERS: usize = 512;
/// Names whose denial is reported; a step that looks up at random does not fill the log.
const MOST_DENIED: usize = 64;
/// Longest host that is reported.
const MOST_SHOWN_BYTES: usize = 100;
/// Connections to the resolver at once; beyond them the oldest is closed.
const MOST_ASKING: usize = 16;
/// Longest question that is read.
const MOST_PACKET_BYTES: usize = 1500;

/// The sandbox's way out, such as it is.
pub(crate) struct Network {
    names: Names,
    resolver: Option<Resolver>,
    asking: BTreeMap<u32, Asking>,
    last_asking: u32,
    listeners: Vec<Listener>,
    tunnels: BTreeMap<u32, Tunnel>,
    last_tunnel: u32,
    denied: BTreeSet<String>,
    patterns: Rc<Patterns>,
    buffer: Vec<u8>,
}

/// The resolver's sockets.
struct Resolver {
    udp: UdpSocket,
    tcp: TcpListener,
}

struct Listener {
    socket: TcpListener,
    place: Place,
}

impl Network {
    /// A network without any way out, before the start and after the end of the step.
    pub(crate) fn closed() -> Self {
        Network {
            names: Names::new(&[]),
            resolver: None,
            asking: BTreeMap::new(),
            last_asking: 0,
            listeners: Vec::new(),
            tunnels: BTreeMap::new(),
            last_tunnel: 0,
            denied: BTreeSet::new(),
            patterns: Rc::new(Patterns::new(&[])),
            buffer: Vec::new(),
        }
    }

    /// Opens the resolver and the listeners that `rules` ask for. With `isolated`, loopback is the sandbox's own and has
    /// been prepared, so it may be given addresses.
    pub(crate) fn open(
        rules: &[NetworkRule],
        patterns: &Rc<Patterns>,
        isolated: bool,
    ) -> Result<Self, Failure> {
        let mut network = Network {
            names: Names::new(rules),
            resolver: resolver(rules, isolated)?,
            patterns: Rc::clone(patterns),
            buffer: vec![0; MAX_DATA_BYTES],
            ..Network::closed()
        };
        for place in network.names.places() {
            if isolated && !place.address.is_loopback() {
                sys::add_loopback_address(place.address)
                    .map_err(|error| unreachable_place(&place, &error))?;
            }
            network.listen(place.clone()).map_err(|error| unreachable_place(&place, &error))?;
        }
        Ok(network)
    }

    fn listen(&mut self, place: Place) -> io::Result<()> {
        if self.listeners.len() >= MOST_LISTENERS {
            return Err(io::Error::other(format!("there are {MOST_LISTENERS} destinations already")));
        }
        let socket = TcpListener::bind((place.address, place.port))?;
        socket.set_nonblocking(true)?;
        self.listeners.push(Listener { socket, place });
        Ok(())
    }

    pub(crate) fn interests<'a>(&'a self, channel: &Channel, interests: &mut Interests<'a>) {
        if channel.has_room() {
            if let Some(resolver) = &self.resolver {
                interests.read(Source::Resolver, &resolver.udp);
                interests.read(Source::ResolverByTcp, &resolver.tcp);
            }
            for (number, asking) in &self.asking {
                interests.read(Source::Asking(*number), &asking.connection);
            }
            for (place, listener) in self.listeners.iter().enumerate() {
                interests.read(Source::Listener(place), &listener.socket);
            }
        }
        self.tunnels.values().for_each(|tunnel| tunnel.interests(channel, interests));
    }

    pub(crate) fn on_ready(&mut self, source: Source, flags: PollFlags, channel: &mut Channel) {
        match source {
            Source::Resolver => self.answer(channel),
            Source::ResolverByTcp => self.accept_asking(),
            Source::Asking(number) => self.answer_by_tcp(number, channel),
            Source::Listener(place) => self.accept(place, channel),
            Source::Tunnel(id) => {
                let Some(tunnel) = self.tunnels.get_mut(&id) else { return };
                if tunnel.on_ready(flags, &mut self.buffer, channel) == Next::Over {
                    self.forget(id, channel);
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, channel: &mut Channel) {
        let mut packet = [0; MOST_PACKET_BYTES];
        let received = self.resolver.as_ref().and_then(|resolver| resolver.udp.recv_from(&mut packet).ok());
        let Some((bytes, asker)) = received else { return };
        let answer = self.answer_to(&packet[..bytes], channel);
        if let (Some(resolver), Some(answer)) = (&self.resolver, answer) {
            // A client that is gone needs no answer.
            _ = resolver.udp.send_to(&answer, asker);
        }
    }

    /// The packet that answers a packet, if one is due.
    fn answer_to(&mut self, packet: &[u8], channel: &mut Channel) -> Option<Vec<u8>> {
        let query = dns::read(packet)?;
        let answer = query.asked.as_ref().map_or(Answer::Malformed, |asked| self.look_up(asked, channel));
        Some(dns::write(&query, answer))
    }

    fn accept_asking(&mut self) {
        let accepted = self.resolver.as_ref().and_then(|resolver| resolver.tcp.accept().ok());
        let Some(asking) = accepted.and_then(|(connection, _)| Asking::new(connection)) else { return };
        if self.asking.len() >= MOST_ASKING {
            self.asking.pop_first();
        }
        self.last_asking += 1;
        self.asking.insert(self.last_asking, asking);
    }

    fn answer_by_tcp(&mut self, number: u32, channel: &mut Channel) {
        // Off the list while it is answered; whoever has ended or asks nonsense does not come back.
        let Some(mut asking) = self.asking.remove(&number) else { return };
        loop {
            match asking.hear() {
                Heard::Part => break,
                Heard::Question(packet) => {
                    let answer = self.answer_to(&packet, channel);
                    if !answer.is_some_and(|answer| asking.answer(&answer)) {
                        return;
                    }
                }
                Heard::Over => return,
            }
        }
        self.asking.insert(number, asking);
    }

    fn look_up(&mut self, asked: &Asked, channel: &mut Channel) -> Answer {
        let name = str::from_utf8(&asked.name).ok().filter(|_| !asked.strange);
        // A name that holds a secret would carry it to the worker.
        let clean = Redactor::whole(&self.patterns, &asked.name) == asked.name;
        let lookup = name.filter(|_| clean).map_or(Lookup::Unknown, |name| self.names.look_up(name));
        match lookup {
            Lookup::Known { address, new } => {
                for place in new {
                    if let Err(_full) = self.listen(place.clone()) {
                        self.deny(place.host.as_bytes(), place.port, channel);
                    }
                }
                if asked.address { Answer::Address(address) } else { Answer::Nothing }
            }
            Lookup::Unknown => {
                self.deny(&asked.name, 0, channel);
                Answer::NoSuchName
            }
        }
    }

    fn deny(&mut self, host: &[u8], port: u16, channel: &mut Channel) {
        let masked = Redactor::whole(&self.patterns, host);
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.[]:".contains(byte);
        let host: String = masked
            .iter()
            .take(MOST_SHOWN_BYTES)
            .map(|byte| if plain(byte) { char::from(*byte) } else { '?' })
            .collect();
        if self.denied.len() < MOST_DENIED && self.denied.insert(host.to_ascii_lowercase()) {
            channel.send(&FromGuest::Denied { host, port });
        }
    }

    fn accept(&mut self, place: usize, channel: &mut Channel) {
        let Some(listener) = self.listeners.get(place) else { return };
        let Ok((connection, _)) = listener.socket.accept() else { return };
        if self.tunnels.len() >= MOST_TUNNELS || connection.set_nonblocking(true).is_err() {
            tunnel::reset(&connection);
            return;
        }
        self.last_tunnel += 1;
        let id = self.last_tunnel;
        let Place { host, port, .. } = listener.place.clone();
        channel.send(&FromGuest::TunnelOpen { tunnel: id, host, port });
        self.tunnels.insert(id, Tunnel::new(id, connection));
    }

    fn forget(&mut self, id: u32, channel: &mut Channel) {
        if let Some(tunnel) = self.tunnels.remove(&id) {
            tunnel.abandon();
            channel.send(&FromGuest::TunnelClose { tunnel: id });
        }
    }

    /// The worker has connected.
    pub(crate) fn opened(&mut self, id: u32) {
        self.tunnels.get_mut(&id).into_iter().for_each(Tunnel::opened);
    }

    /// The worker will not connect, or has closed.
    pub(crate) fn close(&mut self, id: u32) {
        self.tunnels.remove(&id).into_iter().for_each(Tunnel::abandon);
    }

    /// Data of the worker.
    pub(crate) fn take_data(&mut self, id: u32, data: &[u8], channel: &mut Channel) {
        if let Some(tunnel) = self.tunnels.get_mut(&id)
            && tunnel.take_data(data, channel) == Next::Over
        {
            self.forget(id, channel);
        }
    }

    /// The worker takes more of a tunnel.
    pub(crate) fn grant(&mut self, id: u32, bytes: u32) {
        self.tunnels.get_mut(&id).into_iter().for_each(|tunnel| tunnel.grant(bytes));
    }
}

/// Brings loopback up, and gives it the resolver's address beside 127.0.0.1: with that one alone, getaddrinfo takes the
/// sandbox for one without IPv4 (AI_ADDRCONFIG). Where the guest may not, the sandbox backend has done it, or such
/// programs must do without.
pub(crate) fn prepare_loopback() {
    _ = sys::bring_loopback_up();
    _ = sys::add_loopback_address(RESOLVER.ip());
}

/// The resolver. Where the network is the sandbox's own it is there even if no name is listed, so that each look-up
/// fails at once and the user reads of it.
fn resolver(rules: &[NetworkRule], isolated: bool) -> Result<Option<Resolver>, Failure> {
    let open = || {
        let (udp, tcp) = (UdpSocket::bind(RESOLVER)?, TcpListener::bind(RESOLVER)?);
        udp.set_nonblocking(true)?;
        tcp.set_nonblocking(true)?;
        Ok(Resolver { udp, tcp })
    };
    match open() {
        _ if rules.is_empty() && !isolated => Ok(None),
        Ok(resolver) => Ok(Some(resolver)),
        Err(_) if rules.is_empty() => Ok(None),
        Err::<_, io::Error>(error) => Err(Failure::new(
            FailureKind::Isolation,
            format!(
                "the resolver of the sandbox cannot listen on {RESOLVER}: {error}; \
                 the sandbox needs a loopback interface that is up and the right to use ports below 1024"
            ),
        )),
    }
}

fn unreachable_place(place: &Place, error: &io::Error) -> Failure {
    Failure::new(
        FailureKind::Isolation,
        format!(
            "{}:{} cannot be offered inside the sandbox on {}: {error}; an address beside 127.0.0.0/8 needs \
             CAP_NET_ADMIN in a network namespace of the sandbox's own: list the destination by name instead",
            place.host, place.port, place.address
        ),
    )
}
