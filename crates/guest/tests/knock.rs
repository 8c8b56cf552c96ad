//! A guest that starts before anyone listens: it answers knocks, and speaks frames once the worker has entered.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use protocol::frame::FromGuest;
use protocol::frame::codec::Decoder;
use protocol::frame::knock::{self, ENTER, KNOCK_BYTES};

fn guest(arguments: &[&str]) -> std::process::Child {
    let folder = std::env::temp_dir();
    Command::new(env!("CARGO_BIN_EXE_guest"))
        .arg("--workspace")
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn knocks_are_answered_and_then_it_says_hello() {
    let mut child = guest(&["--knock"]);
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for number in [1, 2, 9] {
        // In two parts: a channel may split it anywhere.
        let (one, other) = (&knock::encode(number)[..5], &knock::encode(number)[5..]);
        input.write_all(one).unwrap();
        input.write_all(other).unwrap();
        let mut answer = [0; KNOCK_BYTES];
        output.read_exact(&mut answer).unwrap();
        assert_eq!(knock::decode(&answer), Some(number));
    }
    input.write_all(&knock::encode(ENTER)).unwrap();
    let mut decoder = Decoder::new();
    let mut buffer = [0; 4096];
    let hello = loop {
        let read = output.read(&mut buffer).unwrap();
        assert!(read > 0, "the guest ended");
        decoder.feed(&buffer[..read]);
        if let Some(frame) = decoder.take::<FromGuest>().unwrap() {
            break frame;
        }
    };
    assert!(matches!(hello, FromGuest::Hello { .. }));
    drop(input);
    assert!(child.wait().unwrap().success());
}

#[test]
fn who_does_not_knock_is_no_worker() {
    for words in [&b"GET / HTTP/1.0\r\n\r\n"[..], b"short"] {
        let mut child = guest(&["--knock"]);
        child.stdin.take().unwrap().write_all(words).unwrap();
        assert!(!child.wait().unwrap().success());
        let mut said = Vec::new();
        child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
        assert!(said.is_empty());
    }
}

#[test]
fn an_open_network_is_refused() {
    let devices = std::fs::read_to_string("/proc/net/dev").unwrap();
    if devices.lines().count() == 3 {
        return eprintln!("skipped: this machine itself has loopback alone");
    }
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let mut child = guest(&["--closed", &address]);
    let mut said = Vec::new();
    child.stdout.take().unwrap().read_to_end(&mut said).unwrap();
    let ended = child.wait().unwrap();
    let mut decoder = Decoder::new();
    decoder.feed(&said);
    let frame = decoder.take::<FromGuest>().unwrap();
    let Some(FromGuest::Failed { message, .. }) = frame else { panic!("it serves in an open network") };
    assert!(message.contains(&address) && message.contains("NetworkPolicy"), "{message}");
    assert!(!ended.success());
}

#[test]
fn it_copies_itself() {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy");
    let done = Command::new(env!("CARGO_BIN_EXE_guest")).arg("--install").arg(&copy).status().unwrap();
    assert!(done.success());
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(env!("CARGO_BIN_EXE_guest")).unwrap());
    let closed = std::fs::metadata(folder.path().join("closed")).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&closed.permissions()) & 0o777, 0o700);
    let usage = Command::new(&copy).arg("--no-such-option").output().unwrap();
    assert_eq!(usage.status.code(), Some(64));
}
