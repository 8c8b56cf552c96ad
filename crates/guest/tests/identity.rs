//! A sealed identity inside the guest: opened for its step alone, given to it, and masked in all that comes back.

mod harness;

use harness::{Guest, probe, shell, step};
use protocol::broker::{Sealed, SealedBinding};
use protocol::frame::{FailureKind, FromGuest, MAX_DATA_BYTES, StartStep, ToGuest};
use protocol::id::{AttemptId, RunId, StepId};
use protocol::step::NetworkRule;
use seal::payload::{Entry, Kind};
use seal::{Payload, SigningKey};

const PASSWORD: &str = "correct horse battery staple/+'\"";
const TOKEN: &str = "tok_ABCDEFGHIJKLMNOP";

fn attempt() -> AttemptId {
    AttemptId { run: RunId(uuid::Uuid::from_u128(1)), step: StepId(2), attempt: 1 }
}

fn broker() -> SigningKey {
    SigningKey::from_seed(&[7; 32])
}

fn payload() -> Payload {
    let mut payload = Payload::new();
    for (kind, name, value) in [
        (Kind::Secret, "DB_PASSWORD", PASSWORD),
        (Kind::Setting, "DB_HOST", "db.acme.internal"),
        (Kind::Secret, "API_TOKEN", TOKEN),
    ] {
        let value = value.as_bytes().to_vec().into();
        let entry = Entry::environment(kind, name, value).expect("it fits the environment");
        payload.push(entry).expect("it fits");
    }
    payload
}

fn sealed(guest: &Guest) -> Sealed {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let binding = SealedBinding { grant: "g".into(), attempt: attempt(), expires: now as i64 + 300 };
    seal::sealed::seal(&payload(), &guest.public_key, &binding, &broker()).expect("a guest's key")
}

fn with_identity(guest: &Guest, step: StartStep) -> StartStep {
    StartStep {
        sealed: Some(serde_json::to_string(&sealed(guest)).expect("it serialises")),
        broker_key: Some(broker().public_key().to_bytes()),
        attempt: Some(attempt()),
        ..step
    }
}

#[test]
fn the_step_has_the_values_and_its_output_neither_values_nor_names() {
    let mut guest = Guest::plain();
    let start = with_identity(
        &guest,
        shell("env | sort; echo $API_TOKEN >&2; test ${#API_TOKEN} = 20 && echo whole"),
    );
    let ended = guest.run(start, b"");
    let lines: Vec<&str> = ended.stdout.lines().filter(|line| !line.starts_with("P")).collect();
    assert_eq!(lines, ["[KEY:1]=[REDACTED:1]", "DB_HOST=db.acme.internal", "[KEY:2]=[REDACTED:2]", "whole"]);
    assert_eq!(ended.stderr, "[REDACTED:1]\n");
}

#[test]
fn encoded_values_are_masked_too() {
    for line in [
        r#"printf %s "$DB_PASSWORD" | base64"#,
        r#"printf 'user:%s' "$DB_PASSWORD" | base64 -w 20"#,
        r#"printf %s "$DB_PASSWORD" | od -An -v -tx1 | tr -d ' \n'"#,
        r#"printf %s "$API_TOKEN" | while IFS= read -r -n1 c; do printf %s "$c"; done; echo"#,
        "export -p",
        "set",
    ] {
        let mut guest = Guest::plain();
        let start = with_identity(&guest, step(&["bash", "-c", line]));
        let ended = guest.run(start, b"");
        assert!(ended.stdout.contains("[REDACTED:"), "{line}: {}{}", ended.stdout, ended.stderr);
        for secret in
            [PASSWORD, TOKEN, "correct horse", "API_TOKEN", "DB_PASSWORD", "Y29ycmVjdCBob3JzZ", "636f7272"]
        {
            assert!(!ended.stdout.contains(secret), "{line}: {}", ended.stdout);
        }
    }
}

#[test]
fn one_byte_writes_on_both_streams_are_masked() {
    let mut guest = Guest::plain();
    let line = r#"import os
for b in os.environ['API_TOKEN'].encode():
    os.write(1, bytes([b])); os.write(2, bytes([b]))"#;
    if std::process::Command::new("python3").arg("--version").output().is_err() {
        eprintln!("skipped: no python3 here");
        return;
    }
    let start = with_identity(&guest, step(&["python3", "-c", line]));
    let ended = guest.run(start, b"");
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("[REDACTED:1]", "[REDACTED:1]"));
}

#[test]
fn an_identity_of_another_guest_attempt_or_broker_is_refused() {
    let other = Guest::plain();
    let mut guest = Guest::plain();
    let mut start = with_identity(&other, step(&["true"]));
    assert_eq!(guest.start_failing(start.clone()).0, FailureKind::Sealed);

    let mut guest = Guest::plain();
    start = with_identity(&guest, step(&["true"]));
    start.attempt = Some(AttemptId { attempt: 2, ..attempt() });
    assert_eq!(guest.start_failing(start).0, FailureKind::Sealed);

    let mut guest = Guest::plain();
    start = with_identity(&guest, step(&["true"]));
    start.broker_key = Some(SigningKey::from_seed(&[8; 32]).public_key().to_bytes());
    assert_eq!(guest.start_failing(start).0, FailureKind::Sealed);

    let mut guest = Guest::plain();
    start = with_identity(&guest, step(&["true"]));
    start.broker_key = None;
    assert_eq!(guest.start_failing(start).0, FailureKind::Sealed);

    let mut guest = Guest::plain();
    start = with_identity(&guest, step(&["true"]));
    start.sealed = Some("{}".into());
    let (kind, message) = guest.start_failing(start);
    assert_eq!(
        (kind, message.as_str()),
        (FailureKind::Sealed, "the sealed identity was refused: it is malformed")
    );
}

#[test]
fn a_secret_in_a_name_that_is_looked_up_goes_no_further() {
    let Some(mut guest) = Guest::in_namespaces() else { return };
    let program = harness::probe_program();
    let line = format!("{} resolve $API_TOKEN.acme.com", program.display());
    let mut start = with_identity(&guest, shell(&line));
    start.network = vec![NetworkRule { host: "acme.com".into(), subdomains: true, port: 443 }];
    let ended = guest.run(start, b"");
    assert_eq!(ended.stdout, "no such name\n");
    assert_eq!(ended.denied, ["[REDACTED:1].acme.com"]);
}

/// Collected files with their content, and what was left out.
fn collect(guest: &mut Guest, patterns: &[&str], max_file: u64, max_total: u64, max_files: u32) -> Collected {
    guest.send(&ToGuest::Collect {
        patterns: patterns.iter().map(|pattern| (*pattern).to_owned()).collect(),
        max_file_bytes: max_file,
        max_total_bytes: max_total,
        max_files,
    });
    let mut collected = Collected::default();
    loop {
        match guest.next().expect("it answers") {
            FromGuest::Artifact { path, size } => collected.files.push((path, size, Vec::new())),
            FromGuest::ArtifactData { data, last } => {
                assert!(data.len() <= MAX_DATA_BYTES);
                let (path, size, content) = collected.files.last_mut().expect("content follows its file");
                content.extend_from_slice(&data);
                assert_eq!(last, content.len() as u64 == *size, "{path}");
            }
            FromGuest::Collected { skipped } => {
                collected.skipped = skipped;
                return collected;
            }
            _ => panic!("only artifacts are due"),
        }
    }
}

#[derive(Default)]
struct Collected {
    files: Vec<(String, u64, Vec<u8>)>,
    skipped: Vec<(String, String)>,
}

#[test]
fn artifacts_come_back_masked_and_within_limits() {
    let mut guest = Guest::plain();
    let mut start = shell(
        "echo \"token $API_TOKEN\" > report.md; mkdir -p out/deep; head -c 200000 /dev/urandom > out/deep/big.bin; \
         printf 'a\\0%s' $API_TOKEN > out/leak.bin; : > out/empty; ln -s /etc/passwd out/link; mkfifo out/fifo; \
         echo x > \"out/$API_TOKEN\"; head -c 3000000 /dev/zero > out/huge; echo unlisted > other.txt",
    );
    start.directory = guest.workspace.path().to_str().unwrap().into();
    let start = with_identity(&guest, start);
    let ended = guest.run(start, b"");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    let collected = collect(&mut guest, &["*.md", "/workspace/out/**"], 2_000_000, 10_000_000, 10);
    let names: Vec<&str> = collected.files.iter().map(|(path, ..)| path.as_str()).collect();
    assert_eq!(names, ["out/deep/big.bin", "out/empty", "report.md"]);
    let big = std::fs::read(guest.workspace.path().join("out/deep/big.bin")).unwrap();
    assert!(collected.files[0].2 == big);
    assert_eq!(collected.files[2].2, b"token [REDACTED:1]\n");
    let skipped: Vec<&str> = collected.skipped.iter().map(|(path, _)| path.as_str()).collect();
    assert_eq!(skipped, ["out/fifo", "out/huge", "out/leak.bin", "out/link", "out/[REDACTED:1]"]);

    let few = collect(&mut guest, &["**"], 300_000, 200_005, 2);
    assert_eq!(few.files.len(), 2, "{:?}", few.skipped);
    assert!(few.skipped.iter().any(|(_, reason)| reason.contains("more than 2 files")), "{:?}", few.skipped);
}

#[test]
fn artifacts_are_collected_after_the_end_only() {
    let mut guest = Guest::plain();
    guest.start(probe(&["threads"]));
    let mut early = Guest::plain();
    early.send(&ToGuest::Collect {
        patterns: Vec::new(),
        max_file_bytes: 1,
        max_total_bytes: 1,
        max_files: 1,
    });
    assert_eq!(early.next_failure().0, FailureKind::Protocol);
}
