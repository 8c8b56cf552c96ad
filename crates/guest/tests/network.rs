//! The network of a step: names, tunnels and what is refused, in namespaces of their own.

mod harness;

use harness::{Guest, probe};
use protocol::frame::{FromGuest, MAX_DATA_BYTES, STREAM_WINDOW_BYTES, Stream, ToGuest};
use protocol::step::NetworkRule;

fn rule(host: &str, subdomains: bool, port: u16) -> NetworkRule {
    NetworkRule { host: host.into(), subdomains, port }
}

/// The tunnel that is opened next: number, host, port.
fn next_tunnel(guest: &mut Guest) -> (u32, String, u16) {
    match guest.next() {
        Some(FromGuest::TunnelOpen { tunnel, host, port }) => (tunnel, host, port),
        Some(FromGuest::Output { data, .. }) => panic!("{}", String::from_utf8_lossy(&data)),
        _ => panic!("no tunnel was opened"),
    }
}

#[test]
fn a_listed_name_is_reached_through_the_channel() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let mut step = probe(&["fetch", "Db.Acme.Internal", "443", "ping"]);
    step.network = vec![rule("db.acme.internal", false, 443)];
    guest.start(step);
    let (tunnel, host, port) = next_tunnel(&mut guest);
    assert_eq!((host.as_str(), port), ("db.acme.internal", 443));
    guest.send(&ToGuest::TunnelOpened { tunnel });
    assert!(guest.next() == Some(FromGuest::TunnelData { tunnel, data: b"ping".to_vec() }));
    assert!(guest.next() == Some(FromGuest::TunnelData { tunnel, data: Vec::new() }));
    guest.send(&ToGuest::TunnelData { tunnel, data: b"pong".to_vec() });
    assert!(guest.next() == Some(FromGuest::TunnelCredit { tunnel, bytes: 4 }));
    guest.send(&ToGuest::TunnelData { tunnel, data: Vec::new() });
    assert!(guest.next() == Some(FromGuest::TunnelClose { tunnel }));
    assert_eq!(guest.finish().stdout, "answer: pong\n");
}

#[test]
fn a_refused_tunnel_is_reset() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let mut step = probe(&["fetch", "api.acme.com", "80", "ping"]);
    step.network = vec![rule("acme.com", true, 80)];
    guest.start(step);
    let (tunnel, host, _) = next_tunnel(&mut guest);
    assert_eq!(host, "api.acme.com");
    guest.send(&ToGuest::TunnelRefused { tunnel });
    assert_eq!(guest.finish().stdout, "broken: ConnectionReset\n");
}

#[test]
fn unlisted_names_and_ports_are_refused_at_once_and_reported() {
    for (host, port, expected, denied) in [
        ("evil.com", "443", "no such name\n", Some("evil.com")),
        ("evilacme.com", "443", "no such name\n", Some("evilacme.com")),
        ("acme.com.evil.org", "443", "no such name\n", Some("acme.com.evil.org")),
        ("acme.com\r\n.x", "443", "no such name\n", Some("acme.com??.x")),
        ("acme.com", "80", "not connected: ConnectionRefused\n", None),
        ("127.77.9.9", "443", "not connected: ConnectionRefused\n", None),
        ("169.254.169.254", "80", "not connected: NetworkUnreachable\n", None),
    ] {
        let Some(mut guest) = Guest::in_namespaces() else { return };
        let mut step = probe(&["fetch", host, port, "x"]);
        step.network = vec![rule("acme.com", false, 443)];
        let ended = guest.run(step, b"");
        assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), (expected, ""), "{host}:{port}");
        assert_eq!(ended.denied, denied.into_iter().collect::<Vec<_>>(), "{host}:{port}");
    }
}

#[test]
fn without_rules_every_look_up_fails_at_once() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let ended = guest.run(probe(&["resolve", "example.com"]), b"");
    assert_eq!(
        (ended.stdout.as_str(), ended.denied.as_slice()),
        ("no such name\n", &["example.com".into()][..])
    );
}

#[test]
fn addresses_can_be_listed_where_the_network_is_the_sandboxes_own() {
    for address in ["127.0.0.1", "10.9.8.7"] {
        let Some(mut guest) = Guest::in_namespaces() else { return };
        let mut step = probe(&["fetch", address, "5432", "ping"]);
        step.network = vec![rule(address, false, 5432)];
        guest.start(step);
        let (tunnel, host, port) = next_tunnel(&mut guest);
        assert_eq!((host.as_str(), port), (address, 5432));
        guest.send(&ToGuest::TunnelRefused { tunnel });
        guest.finish();
    }
}

#[test]
fn a_tunnel_keeps_to_its_credit_and_half_closes() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let mut step = probe(&["half-close", "127.77.1.1:443"]);
    step.network = vec![rule("acme.com", false, 443)];
    guest.start(step);
    let (tunnel, ..) = next_tunnel(&mut guest);
    guest.send(&ToGuest::TunnelOpened { tunnel });
    let (mut got, mut granted) = (0, STREAM_WINDOW_BYTES as usize);
    loop {
        match guest.next() {
            Some(FromGuest::TunnelData { data, .. }) if data.is_empty() => break,
            Some(FromGuest::TunnelData { data, .. }) => got += data.len(),
            _ => panic!("only data is due"),
        }
        assert!(got <= granted, "{got} bytes came for {granted} of credit");
        if got == granted {
            guest.send(&ToGuest::TunnelCredit { tunnel, bytes: 500_000 });
            granted += 500_000;
        }
    }
    assert_eq!(got, 3_000_000);
    let mut credit = STREAM_WINDOW_BYTES as usize;
    for _ in 0..40 {
        while credit < MAX_DATA_BYTES {
            match guest.next() {
                Some(FromGuest::TunnelCredit { bytes, .. }) => credit += bytes as usize,
                _ => panic!("only credit is due"),
            }
        }
        credit -= MAX_DATA_BYTES;
        guest.send(&ToGuest::TunnelData { tunnel, data: vec![b'y'; MAX_DATA_BYTES] });
    }
    guest.send(&ToGuest::TunnelData { tunnel, data: Vec::new() });
    assert_eq!(guest.finish().stdout, format!("{}\n", 40 * MAX_DATA_BYTES));
}

#[test]
fn an_aborted_connection_is_reported_and_late_frames_are_ignored() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let mut step = probe(&["fetch", "acme.com", "443", "ping"]);
    step.network = vec![rule("acme.com", false, 443)];
    guest.start(step);
    let (tunnel, ..) = next_tunnel(&mut guest);
    guest.send(&ToGuest::TunnelOpened { tunnel });
    guest.send(&ToGuest::TunnelClose { tunnel });
    guest.send(&ToGuest::TunnelData { tunnel, data: b"late".to_vec() });
    guest.send(&ToGuest::TunnelCredit { tunnel: 77, bytes: 1 });
    guest.send(&ToGuest::OutputCredit { stream: Stream::Stdout, bytes: 1 });
    assert_eq!(guest.finish().stdout, "broken: ConnectionReset\n");
}
