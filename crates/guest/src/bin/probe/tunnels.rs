//! A client of the sandbox's resolver and tunnels, without a C library's.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// Where the sandbox's resolver is.
const RESOLVER: &str = "127.77.0.1:53";
/// How long it may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of a header before a question.
const HEADER: [u8; 12] = [0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];

/// Whether the command is one of these.
pub(crate) fn run(command: &str, rest: &[&str]) -> bool {
    match (command, rest) {
        ("resolve", [name]) => println!("{}", resolve(name)),
        ("resolve-tcp", [name]) => println!("{}", read_answer(&ask_by_tcp(&question(&labels_of(name))))),
        ("fetch", [host, port, request]) => println!("{}", fetch(host, port, request, false)),
        ("hold", [host, port, request]) => println!("{}", fetch(host, port, request, true)),
        ("fetch-many", [host, port, count]) => fetch_many(host, port, count.parse().expect("a number")),
        ("half-close", [address]) => half_close(address),
        ("connect-times", [host, port, count]) => connect_times(host, port, count.parse().expect("a number")),
        ("download", [host, port]) => download(host, port),
        _ => return false,
    }
    true
}

/// What the resolver says.
pub(crate) enum Reply {
    /// The name has this address.
    Address(Ipv4Addr),
    /// Anything else, as text.
    Other(String),
}

/// Asks for the IPv4 address of a name, given by its labels.
pub(crate) fn ask<L: AsRef<[u8]>>(labels: &[L]) -> Reply {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    if socket.send_to(&question(labels), RESOLVER).is_err() {
        return Reply::Other("no resolver".to_owned());
    }
    let mut answer = [0; 1500];
    match socket.recv(&mut answer) {
        Ok(bytes) => reply(&answer[..bytes]),
        Err(_) => Reply::Other("no answer".to_owned()),
    }
}

/// The address of a name as text, or why there is none.
pub(crate) fn resolve(name: &str) -> String {
    match ask(&labels_of(name)) {
        Reply::Address(address) => address.to_string(),
        Reply::Other(why) => why,
    }
}

fn labels_of(name: &str) -> Vec<&str> {
    name.split('.').filter(|label| !label.is_empty()).collect()
}

fn question<L: AsRef<[u8]>>(labels: &[L]) -> Vec<u8> {
    let mut packet = HEADER.to_vec();
    for label in labels {
        packet.push(label.as_ref().len() as u8);
        packet.extend_from_slice(label.as_ref());
    }
    packet.extend_from_slice(&[0, 0, 1, 0, 1]);
    packet
}

fn reply(answer: &[u8]) -> Reply {
    let Some((head, tail)) = answer.split_first_chunk::<12>() else {
        return Reply::Other("no answer".to_owned());
    };
    match (head[3] & 15, head[7]) {
        (0, 1) => match tail.last_chunk::<4>() {
            Some(octets) => Reply::Address(Ipv4Addr::from(*octets)),
            None => Reply::Other("a short answer".to_owned()),
        },
        (0, _) => Reply::Other("nothing".to_owned()),
        (3, _) => Reply::Other("no such name".to_owned()),
        (code, _) => Reply::Other(format!("code {code}")),
    }
}

fn read_answer(answer: &[u8]) -> String {
    match reply(answer) {
        Reply::Address(address) => address.to_string(),
        Reply::Other(why) => why,
    }
}

/// The same question over TCP, as RFC 7766 has it: each message after its length.
fn ask_by_tcp(question: &[u8]) -> Vec<u8> {
    let asked = || {
        let mut connection = TcpStream::connect(RESOLVER).ok()?;
        connection.set_read_timeout(Some(PATIENCE)).ok()?;
        let length = u16::try_from(question.len()).ok()?.to_be_bytes();
        connection.write_all(&[&length[..], question].concat()).ok()?;
        let mut length = [0; 2];
        connection.read_exact(&mut length).ok()?;
        let mut answer = vec![0; usize::from(u16::from_be_bytes(length))];
        connection.read_exact(&mut answer).ok()?;
        Some(answer)
    };
    asked().unwrap_or_default()
}

fn place(host: &str, port: &str) -> Result<SocketAddr, String> {
    let address = match host.parse::<Ipv4Addr>() {
        Ok(address) => address,
        Err(_) => resolve(host).parse().map_err(|_| resolve(host))?,
    };
    Ok(SocketAddr::new(address.into(), port.parse().map_err(|_| "no port".to_owned())?))
}

/// Connects, says something and tells what it hears. With `hold` it says at once what came first, and stays.
fn fetch(host: &str, port: &str, request: &str, hold: bool) -> String {
    let address = match place(host, port) {
        Ok(address) => address,
        Err(why) => return why,
    };
    let mut connection = match TcpStream::connect(address) {
        Ok(connection) => connection,
        Err(error) => return format!("not connected: {:?}", error.kind()),
    };
    let mut answer = String::new();
    if hold {
        let mut bytes = [0; 100];
        drop(connection.write_all(request.as_bytes()));
        let heard = connection.read(&mut bytes).unwrap_or(0);
        println!("answer: {}", String::from_utf8_lossy(&bytes[..heard]));
        drop(connection.read(&mut bytes));
        return "closed".to_owned();
    }
    let spoken = connection
        .write_all(request.as_bytes())
        .and_then(|()| connection.shutdown(Shutdown::Write))
        .and_then(|()| connection.read_to_string(&mut answer));
    match spoken {
        Ok(_) => format!("answer: {answer}"),
        Err(error) => format!("broken: {:?}", error.kind()),
    }
}

/// Connections that are all open before the first of them speaks.
fn fetch_many(host: &str, port: &str, count: usize) {
    let Ok(address) = place(host, port) else { return println!("no such name") };
    let connections: Vec<_> = (0..count).filter_map(|_| TcpStream::connect(address).ok()).collect();
    let mut answers = 0;
    for mut connection in connections {
        let mut answer = String::new();
        let spoken = connection.write_all(b"ping").and_then(|()| connection.read_to_string(&mut answer));
        answers += usize::from(spoken.is_ok() && !answer.is_empty());
    }
    println!("{answers} answers");
}

/// Sends a lot, ends its own direction, and then counts what still comes.
fn half_close(address: &str) {
    let mut connection = TcpStream::connect(address).expect("it connects");
    connection.write_all(&vec![b'x'; 3_000_000]).expect("it is taken");
    connection.shutdown(Shutdown::Write).expect("half of it closes");
    let mut rest = Vec::new();
    connection.read_to_end(&mut rest).expect("the other half comes");
    println!("{}", rest.len());
}

/// Microseconds from connecting to the first byte of the answer, a line each.
fn connect_times(host: &str, port: &str, count: usize) {
    let address = place(host, port).expect("a listed name");
    for _ in 0..count {
        let began = Instant::now();
        let mut connection = TcpStream::connect(address).expect("it connects");
        connection.write_all(b"ping").expect("it is taken");
        connection.read_exact(&mut [0; 1]).expect("it answers");
        println!("{}", began.elapsed().as_micros());
    }
}

/// Reads to the end; bytes and microseconds.
fn download(host: &str, port: &str) {
    let address = place(host, port).expect("a listed name");
    let mut connection = TcpStream::connect(address).expect("it connects");
    connection.write_all(b"ping").expect("it is taken");
    let (began, mut bytes, mut buffer) = (Instant::now(), 0, vec![0; 1 << 18]);
    while let Ok(read @ 1..) = connection.read(&mut buffer) {
        bytes += read;
    }
    println!("{bytes} {}", began.elapsed().as_micros());
}
