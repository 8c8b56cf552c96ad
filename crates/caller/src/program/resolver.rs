//! Looks a name up at the sandbox's own resolver (RFC 1035).
//!
//! The C library's resolver is not used: in a static program it would load parts of whatever C library the sandbox's image
//! has.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

/// Where the guest's resolver listens, if /etc/resolv.conf names none.
const USUAL: Ipv4Addr = Ipv4Addr::new(127, 77, 0, 1);
const CONFIGURATION: &str = "/etc/resolv.conf";
/// How long an answer may take, and how often it is asked for: both ends are in one sandbox.
const PATIENCE: Duration = Duration::from_secs(2);
const ATTEMPTS: u16 = 3;
const MAX_PACKET_BYTES: usize = 1500;

/// The address of a host, which may be an address itself.
pub(crate) fn resolve(host: &str) -> io::Result<IpAddr> {
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Ok(address) = bare.parse() {
        return Ok(address);
    }
    let name = bare.trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" {
        return Ok(Ipv4Addr::LOCALHOST.into());
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.connect(SocketAddr::new(server(), 53))?;
    let mut packet = [0; MAX_PACKET_BYTES];
    for id in 1..=ATTEMPTS {
        socket.send(&query(id, &name).ok_or_else(|| unknown(&name))?)?;
        match socket.recv(&mut packet) {
            Ok(length) => return answer(&packet[..length], id).map(IpAddr::V4).ok_or_else(|| unknown(&name)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "the sandbox's resolver does not answer"))
}

fn unknown(name: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("{name:?} is no destination of this step; name it in `network` of `metadata.execution`"),
    )
}

fn server() -> IpAddr {
    let text = std::fs::read_to_string(CONFIGURATION).unwrap_or_default();
    let named = text.lines().find_map(|line| line.strip_prefix("nameserver")?.trim().parse().ok());
    named.unwrap_or(IpAddr::V4(USUAL))
}

/// A question for an IPv4 address.
fn query(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut packet = Vec::with_capacity(32 + name.len());
    for word in [id, 0x0100, 1, 0, 0, 0] {
        packet.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..64).contains(length))?;
        packet.push(length);
        packet.extend_from_slice(label.as_bytes());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    Some(packet)
}

/// The first IPv4 address of an answer.
fn answer(packet: &[u8], id: u16) -> Option<Ipv4Addr> {
    let word = |at: usize| Some(u16::from_be_bytes(*packet.get(at..)?.first_chunk()?));
    if word(0)? != id || word(2)? & 0x800f != 0x8000 {
        return None;
    }
    let mut at = 12;
    for _ in 0..word(4)? {
        at = behind_name(packet, at)? + 4;
    }
    for _ in 0..word(6)? {
        at = behind_name(packet, at)?;
        let (kind, length) = (word(at)?, usize::from(word(at + 8)?));
        let data = packet.get(at + 10..at + 10 + length)?;
        if kind == 1
            && let Ok(address) = <[u8; 4]>::try_from(data)
        {
            return Some(address.into());
        }
        at += 10 + length;
    }
    None
}

fn behind_name(packet: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *packet.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_in_an_answer() {
        let question = query(7, "api.example").unwrap();
        assert_eq!(&question[12..], b"\x03api\x07example\x00\x00\x01\x00\x01");
        let mut packet = question.clone();
        packet[2..4].copy_from_slice(&[0x84, 0x80]);
        packet[6..8].copy_from_slice(&[0, 1]);
        packet.extend_from_slice(b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x01\x2c\x00\x04\x7f\x4d\x01\x02");
        assert_eq!(answer(&packet, 7), Some(Ipv4Addr::new(127, 77, 1, 2)));
        assert_eq!(answer(&packet, 8), None, "another question's");
        for cut in 0..packet.len() {
            assert_eq!(answer(&packet[..cut], 7), None, "{cut}");
        }
        packet[3] = 0x83;
        assert_eq!(answer(&packet, 7), None, "no such name");
        assert_eq!(query(1, "a..b"), None);
    }
}
