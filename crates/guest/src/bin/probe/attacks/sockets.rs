//! Socket families and protocols beyond TCP, UDP and local sockets.

use crate::attempt::{call, leaked, words};

const FAMILIES: [(&str, i32); 21] = [
    ("AF_PACKET", 17),
    ("AF_VSOCK", 40),
    ("AF_ALG", 38),
    ("AF_KEY", 15),
    ("AF_BLUETOOTH", 31),
    ("AF_CAN", 29),
    ("AF_TIPC", 30),
    ("AF_RDS", 21),
    ("AF_XDP", 44),
    ("AF_NFC", 39),
    ("AF_QIPCRTR", 42),
    ("AF_SMC", 43),
    ("AF_KCM", 41),
    ("AF_IB", 27),
    ("AF_X25", 9),
    ("AF_AX25", 3),
    ("AF_APPLETALK", 5),
    ("AF_RXRPC", 33),
    ("AF_PPPOX", 24),
    ("AF_LLC", 26),
    ("AF_MCTP", 45),
];
const STREAM: i32 = libc::SOCK_STREAM;
const DATAGRAM: i32 = libc::SOCK_DGRAM;
const RAW: i32 = libc::SOCK_RAW;

pub(super) fn families(_: i32) {
    for (name, family) in FAMILIES {
        for kind in [STREAM, DATAGRAM, RAW, libc::SOCK_SEQPACKET] {
            call(&format!("{name} of type {kind}"), libc::SYS_socket, words![family, kind, 0]);
        }
    }
    // 0 is the one of routes, which programs ask for their interfaces.
    for protocol in 1..24 {
        for kind in [DATAGRAM, RAW] {
            call(&format!("netlink {protocol}"), libc::SYS_socket, words![libc::AF_NETLINK, kind, protocol]);
        }
    }
    for (family, name) in [(libc::AF_INET, "IPv4"), (libc::AF_INET6, "IPv6")] {
        for protocol in [1, 6, 17, 58, 255] {
            call(&format!("raw {name} {protocol}"), libc::SYS_socket, words![family, RAW, protocol]);
        }
        let ping = if family == libc::AF_INET { 1 } else { 58 };
        for (what, kind, protocol) in [
            ("ping", DATAGRAM, ping),
            ("SCTP", STREAM, 132),
            ("MPTCP", STREAM, 262),
            ("UDP-Lite", DATAGRAM, 136),
        ] {
            call(&format!("{what} over {name}"), libc::SYS_socket, words![family, kind, protocol]);
        }
    }
    let pair = [0_i32, 0];
    call("pair of AF_VSOCK", libc::SYS_socketpair, words![40, STREAM, 0, &pair[..]]);
    if std::net::TcpListener::bind("127.0.0.1:0").is_err() {
        leaked("nothing, but a step cannot listen on its own loopback");
    }
}
