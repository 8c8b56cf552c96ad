//! A step's process: how it starts, what it gets, how it ends, and what is left of it.

mod harness;

use std::time::{Duration, Instant};

use harness::{Guest, shell, step};
use protocol::frame::{FailureKind, FromGuest, STREAM_WINDOW_BYTES, Stream, ToGuest};

/// Longest a condition is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        std::thread::yield_now();
    }
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

#[test]
fn output_and_exit_code_come_back() {
    let ended = Guest::plain().run(shell("echo out; echo err >&2; exit 7"), b"");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("out\n", "err\n"));
    assert_eq!((ended.code, ended.signal), (Some(7), None));
    assert!(ended.max_rss_bytes > 100_000, "{}", ended.max_rss_bytes);
}

#[test]
fn a_signal_ends_the_whole_group() {
    let mut guest = Guest::plain();
    guest.start(shell("trap 'echo caught; exit 3' TERM; echo ready; while :; do sleep 60 & wait; done"));
    loop {
        if let Some(FromGuest::Output { .. }) = guest.next() {
            break;
        }
    }
    guest.send(&ToGuest::Signal { number: libc::SIGTERM });
    let ended = guest.finish();
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(3), "caught\n"));
}

#[test]
fn a_killed_step_reports_the_signal() {
    let mut guest = Guest::plain();
    guest.start(step(&["sleep", "1000"]));
    guest.send(&ToGuest::Kill);
    assert_eq!(guest.finish().signal, Some(libc::SIGKILL));
}

#[test]
fn standard_input_arrives_whole_and_ends() {
    let input = vec![b'x'; 5 * STREAM_WINDOW_BYTES as usize / 10];
    let ended = Guest::plain().run(step(&["wc", "-c"]), &input);
    assert_eq!(ended.stdout.trim(), input.len().to_string());
}

#[test]
fn standard_input_is_granted_as_it_is_read() {
    let mut guest = Guest::plain();
    guest.start(step(&["wc", "-c"]));
    let total = 4 * STREAM_WINDOW_BYTES as usize;
    let (mut credit, mut sent) = (STREAM_WINDOW_BYTES as usize, 0);
    while sent < total {
        if credit == 0 {
            match guest.next() {
                Some(FromGuest::StdinCredit { bytes }) => credit += bytes as usize,
                _ => panic!("only credit is due"),
            }
        }
        let bytes = credit.min(total - sent).min(50_000);
        guest.send(&ToGuest::Stdin { data: vec![b'y'; bytes] });
        credit -= bytes;
        sent += bytes;
    }
    guest.send(&ToGuest::Stdin { data: Vec::new() });
    assert_eq!(guest.finish().stdout.trim(), total.to_string());
}

#[test]
fn input_beyond_its_credit_ends_the_guest() {
    let mut guest = Guest::plain();
    guest.start(step(&["sleep", "1000"]));
    for _ in 0..40 {
        guest.send(&ToGuest::Stdin { data: vec![0; 60_000] });
    }
    assert_eq!(guest.next_failure().0, FailureKind::Protocol);
    assert_eq!(guest.wait().code(), Some(1));
}

#[test]
fn a_flood_is_blocked_by_the_credit_and_comes_whole_afterwards() {
    let mut guest = Guest::plain();
    guest.credits = false;
    guest.start(shell("head -c 8000000 /dev/zero; echo done >&2"));
    let mut got = 0;
    let mut granted = STREAM_WINDOW_BYTES as usize;
    for more in [1000, 0] {
        while got < granted {
            match guest.next() {
                Some(FromGuest::Output { data, .. }) => got += data.len(),
                _ => panic!("only output is due"),
            }
        }
        assert_eq!(got, granted, "not a byte beyond the credit");
        guest.send(&ToGuest::OutputCredit { stream: Stream::Stdout, bytes: more });
        granted += more as usize;
    }
    let guest_rss = std::fs::read_to_string(format!("/proc/{}/status", guest.child.id())).unwrap();
    let rss = guest_rss.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    let kilobytes: u64 = rss.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 16_000, "{kilobytes} kB");
    guest.credits = true;
    guest.send(&ToGuest::OutputCredit { stream: Stream::Stdout, bytes: STREAM_WINDOW_BYTES });
    let ended = guest.finish();
    assert_eq!(got + ended.stdout.len(), 8_000_000);
    assert_eq!(ended.stderr, "done\n");
}

#[test]
fn what_is_left_in_the_background_ends_with_the_step() {
    let mut guest = Guest::plain();
    let ended = guest.run(shell("setsid sleep 1000 & echo $!; (setsid sh -c 'sleep 1000' &); exit 0"), b"");
    assert_eq!(ended.code, Some(0));
    assert!(!is_alive(&ended.stdout), "{}", ended.stdout);
}

#[test]
fn the_end_of_the_channel_kills_everything() {
    let mut guest = Guest::plain();
    guest.start(shell("setsid sleep 1000 & echo $!; exec sleep 1000"));
    let pid = loop {
        if let Some(FromGuest::Output { data, .. }) = guest.next() {
            break String::from_utf8(data).unwrap();
        }
    };
    assert!(is_alive(&pid));
    guest.close();
    assert_eq!(guest.wait().code(), Some(0));
    wait_until("the orphan is killed", || !is_alive(&pid));
}

#[test]
fn the_deadline_holds_without_the_worker() {
    let mut guest = Guest::plain();
    let mut slow = shell("trap '' TERM INT; sleep 1000 & wait; sleep 1000");
    slow.limits.deadline_ms = 200;
    let ended = guest.run(slow, b"");
    assert_eq!(ended.failed.map(|(kind, _)| kind), Some(FailureKind::Deadline));
    assert_eq!(ended.signal, Some(libc::SIGKILL));
}

#[test]
fn a_program_that_is_not_there_is_named() {
    for (program, expected) in [
        ("no-such-program", "`no-such-program` cannot be started: No such file or directory"),
        ("/etc/passwd", "`/etc/passwd` cannot be started: Permission denied"),
    ] {
        let (kind, message) = Guest::plain().start_failing(step(&[program]));
        assert_eq!(kind, FailureKind::NotFound);
        assert!(message.starts_with(expected), "{message}");
    }
    let mut lost = step(&["true"]);
    lost.directory = "/no/such/folder".into();
    let (kind, message) = Guest::plain().start_failing(lost);
    assert_eq!(kind, FailureKind::Workspace);
    assert!(message.contains("/no/such/folder"), "{message}");
}

#[test]
fn the_step_gets_its_environment_and_nothing_of_the_guest() {
    let mut start = step(&["env"]);
    start.environment.insert("GREETING".into(), "hello world".into());
    let ended = Guest::plain().run(start, b"");
    let mut lines: Vec<&str> = ended.stdout.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        ["GREETING=hello world", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]
    );
}

#[test]
fn the_step_has_three_descriptors() {
    let ended = Guest::plain().run(shell("ls /proc/self/fd | sort -n | tr '\\n' ' '"), b"");
    // `ls` itself opens the folder as 3.
    assert_eq!(ended.stdout, "0 1 2 3 ");
}

#[test]
fn standard_streams_can_be_opened_by_name() {
    let ended = Guest::plain().run(shell("cat < /dev/stdin > /dev/stdout; echo x > /dev/stderr"), b"through");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("through", "x\n"));
}

#[test]
fn limits_hold() {
    let mut start = shell("ulimit -d; ulimit -n; ulimit -f; grep core /proc/self/limits | tr -s ' '");
    start.limits.memory_bytes = 1 << 30;
    start.limits.descriptors = 77;
    start.limits.file_bytes = 1 << 20;
    let ended = Guest::plain().run(start, b"");
    assert_eq!(ended.stdout, "1048576\n77\n2048\nMax core file size 1 1 bytes \n");
}

#[test]
fn a_terminal_is_one() {
    let mut start = shell("test -t 0 && test -t 1 && test -t 2 && tty && read line && echo got $line");
    start.terminal = true;
    let ended = Guest::plain().run(start, b"word\n");
    assert_eq!(ended.code, Some(0), "{}", ended.stdout);
    assert!(ended.stdout.contains("/dev/pts/"), "{}", ended.stdout);
    assert!(ended.stdout.contains("got word"), "{}", ended.stdout);
}

#[test]
fn files_arrive_before_the_step() {
    let mut guest = Guest::plain();
    guest.send(&ToGuest::PutFile { path: "bin/hello".into(), mode: 0o755 });
    guest.send(&ToGuest::PutData { data: b"#!/bin/sh\necho hi > made; cat made\n".to_vec(), last: true });
    let mut start = step(&["bin/hello"]);
    start.directory = guest.workspace.path().to_str().unwrap().to_owned();
    let ended = guest.run(start, b"");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("hi\n", ""));
}

#[test]
fn malformed_and_untimely_frames_end_the_guest() {
    let mut guest = Guest::plain();
    guest.send_bytes(&[255; 16]);
    assert_eq!(guest.next_failure().0, FailureKind::Protocol);
    assert_eq!(guest.wait().code(), Some(1));

    let mut guest = Guest::plain();
    guest.send(&ToGuest::Stdin { data: vec![1] });
    assert_eq!(guest.next_failure().0, FailureKind::Protocol);

    let mut guest = Guest::plain();
    guest.start(step(&["sleep", "1000"]));
    guest.send(&ToGuest::Start(Box::new(step(&["true"]))));
    assert_eq!(guest.next_failure().0, FailureKind::Protocol);
}

#[test]
fn termination_of_the_guest_ends_the_step() {
    let mut guest = Guest::plain();
    guest.start(step(&["sleep", "1000"]));
    let guest_pid = i32::try_from(guest.child.id()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(guest_pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    assert_eq!(guest.wait().code(), Some(0));
}

#[test]
fn as_process_1_of_a_namespace_everything_dies_with_the_step() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let ended = guest.run(shell("(setsid sleep 1000 &); (setsid sleep 1000 &); echo $$; ls /proc"), b"");
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stdout.lines().next().unwrap().parse::<u32>().unwrap() < 20, "{}", ended.stdout);
}
