//! A worker's session against guests that break the protocol on purpose: errors, never a panic, bounded memory.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use protocol::frame::codec::encode;
use protocol::frame::{
    FRAME_VERSION, FailureKind, FromGuest, LayerReport, MAX_DATA_BYTES, MAX_FRAME_BYTES, MAX_TUNNELS,
    STREAM_WINDOW_BYTES, Stream,
};
use sandbox::conformance::{Ran, Step, run};
use sandbox::session::{ArtifactSink, Collect};
use sandbox::{Channel, Sandbox, SandboxError, SandboxId, Session};
use tokio::io::{AsyncWriteExt, DuplexStream};

/// Frames of a normal run of the fuzz test; a million with SAGEWAI_FUZZ_FRAMES=1000000.
const FUZZ_FRAMES: u64 = 60_000;
/// Frames that one fuzzed guest says.
const FRAMES_PER_GUEST: u64 = 60;

/// A sandbox whose guest says what it is told to, whatever it hears.
struct Scripted {
    id: SandboxId,
    channel: Option<Channel>,
}

#[async_trait]
impl Sandbox for Scripted {
    fn id(&self) -> &SandboxId {
        &self.id
    }

    fn layers(&self) -> Vec<LayerReport> {
        Vec::new()
    }

    fn take_channel(&mut self) -> Option<Channel> {
        self.channel.take()
    }

    async fn discard(self: Box<Self>) -> Result<(), SandboxError> {
        Ok(())
    }
}

fn hello() -> FromGuest {
    FromGuest::Hello { version: FRAME_VERSION, public_key: [1; 32], layers: Vec::new() }
}

fn bytes_of(frames: &[FromGuest]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        encode(frame, &mut bytes).expect("fits a frame");
    }
    bytes
}

/// A guest that says `bytes` and then ends; it reads nothing that does not fit its pipe.
fn scripted(bytes: Vec<u8>) -> Box<dyn Sandbox> {
    let (ours, mut its): (DuplexStream, DuplexStream) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let _ = its.write_all(&bytes).await;
        let _ = its.shutdown().await;
        // Kept open for writing, so that only the guest's silence ends the session.
        let mut drain = tokio::io::sink();
        let _ = tokio::io::copy(&mut its, &mut drain).await;
    });
    let (reader, writer) = tokio::io::split(ours);
    let channel = Channel { reader: Box::pin(reader), writer: Box::pin(writer) };
    Box::new(Scripted { id: SandboxId::new("scripted"), channel: Some(channel) })
}

async fn ran(frames: &[FromGuest]) -> Ran {
    let mut all = vec![hello()];
    all.extend_from_slice(frames);
    let mut session = Session::open(scripted(bytes_of(&all)), &[]).await.expect("it says hello");
    run(&mut session, Step::new(["true"]).within(Duration::from_secs(5))).await
}

fn output(size: usize) -> FromGuest {
    FromGuest::Output { stream: Stream::Stdout, data: vec![b'x'; size] }
}

fn exited() -> FromGuest {
    FromGuest::Exited { code: Some(0), signal: None, max_rss_bytes: 1, cpu_us: 1 }
}

fn open_tunnel(tunnel: u32) -> FromGuest {
    FromGuest::TunnelOpen { tunnel, host: "db.acme.com".to_owned(), port: 5432 }
}

#[tokio::test]
async fn an_honest_guest_is_served() {
    let ran = ran(&[FromGuest::Started { pid: 2 }, output(10), exited()]).await;
    assert_eq!((ran.code(), ran.stdout.len()), (Some(0), 10));
}

#[tokio::test]
async fn frames_out_of_order_are_breaches() {
    let started = || FromGuest::Started { pid: 2 };
    let scripts: Vec<(&str, Vec<FromGuest>)> = vec![
        ("a second hello", vec![hello()]),
        ("output before the start", vec![output(1)]),
        ("an end before the start", vec![exited()]),
        ("a tunnel before the start", vec![open_tunnel(1)]),
        ("a second start", vec![started(), started()]),
        ("artifacts while it runs", vec![started(), FromGuest::Collected { skipped: Vec::new() }]),
        ("a tunnel twice", vec![started(), open_tunnel(1), open_tunnel(1)]),
        ("a long data frame", vec![started(), output(MAX_DATA_BYTES + 1)]),
        (
            "two ends",
            vec![
                started(),
                FromGuest::Exited { code: Some(1), signal: Some(9), max_rss_bytes: 0, cpu_us: 0 },
            ],
        ),
        (
            "no end",
            vec![started(), FromGuest::Exited { code: None, signal: None, max_rss_bytes: 0, cpu_us: 0 }],
        ),
    ];
    for (what, frames) in scripts {
        let ran = ran(&frames).await;
        assert!(matches!(ran.exit, Err(SandboxError::Protocol(_))), "{what}: {:?}", ran.exit);
    }
}

#[tokio::test]
async fn a_guest_that_overruns_its_credit_is_cut_off() {
    let mut frames = vec![FromGuest::Started { pid: 2 }];
    // The reader takes nothing, so nothing is granted.
    frames.extend((0..=STREAM_WINDOW_BYTES as usize / MAX_DATA_BYTES).map(|_| output(MAX_DATA_BYTES)));
    let mut all = vec![hello()];
    all.extend(frames);
    let mut session = Session::open(scripted(bytes_of(&all)), &[]).await.expect("it says hello");
    let (start, stdin, control) = Step::new(["true"]).into_parts();
    let (events, _kept_unread) = tokio::sync::mpsc::channel(1);
    let exit = session.run(start, stdin, events, control).await;
    assert!(matches!(exit, Err(SandboxError::Protocol(_))), "{exit:?}");
}

#[tokio::test]
async fn tunnels_are_bounded_in_number_and_bytes() {
    let mut frames = vec![FromGuest::Started { pid: 2 }];
    frames.extend((0..=u32::try_from(MAX_TUNNELS).expect("few")).map(open_tunnel));
    let many = ran(&frames).await;
    assert!(matches!(many.exit, Err(SandboxError::Protocol(_))), "{:?}", many.exit);

    let mut frames = vec![FromGuest::Started { pid: 2 }, open_tunnel(1)];
    let data = || FromGuest::TunnelData { tunnel: 1, data: vec![0; MAX_DATA_BYTES] };
    frames.extend((0..=STREAM_WINDOW_BYTES as usize / MAX_DATA_BYTES).map(|_| data()));
    let long = ran(&frames).await;
    assert!(matches!(long.exit, Err(SandboxError::Protocol(_) | SandboxError::Ended(_))), "{:?}", long.exit);
}

#[tokio::test]
async fn an_end_of_the_channel_is_told_wherever_it_comes() {
    let whole = bytes_of(&[hello(), FromGuest::Started { pid: 2 }, output(100), exited()]);
    for cut in 0..whole.len() {
        match Session::open(scripted(whole[..cut].to_vec()), &[]).await {
            Ok(mut session) => {
                let ran = run(&mut session, Step::new(["true"])).await;
                assert!(matches!(ran.exit, Err(SandboxError::Ended(_))), "cut at {cut}: {:?}", ran.exit);
            }
            Err(error) => assert!(matches!(error, SandboxError::Ended(_)), "cut at {cut}: {error:?}"),
        }
    }
}

#[tokio::test]
async fn a_guest_of_another_version_or_with_another_first_frame_is_refused() {
    let other = FromGuest::Hello { version: FRAME_VERSION + 1, public_key: [0; 32], layers: Vec::new() };
    let refused = Session::open(scripted(bytes_of(&[other])), &[]).await.err();
    assert!(matches!(refused, Some(SandboxError::GuestVersion { .. })), "{refused:?}");
    let refused = Session::open(scripted(bytes_of(&[exited()])), &[]).await.err();
    assert!(matches!(refused, Some(SandboxError::Protocol(_))), "{refused:?}");
    let failed = FromGuest::Failed { kind: FailureKind::Isolation, message: "no".to_owned() };
    let refused = Session::open(scripted(bytes_of(&[failed])), &[]).await.err();
    assert!(matches!(refused, Some(SandboxError::Refused { .. })), "{refused:?}");
}

#[tokio::test]
async fn a_length_that_is_too_long_is_refused_without_its_body() {
    let mut bytes = bytes_of(&[hello()]);
    bytes.extend_from_slice(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes());
    let mut session = Session::open(scripted(bytes), &[]).await.expect("it says hello");
    let ran = run(&mut session, Step::new(["true"])).await;
    assert!(matches!(ran.exit, Err(SandboxError::Protocol(_))), "{:?}", ran.exit);
}

/// Counts bytes and refuses nothing, so that only the session's own checks are at work.
#[derive(Default)]
struct Counting(u64);

#[async_trait]
impl ArtifactSink for Counting {
    async fn begin(&mut self, path: &str, _: u64) -> std::io::Result<()> {
        assert!(!path.starts_with('/') && !path.split('/').any(|part| part == ".."), "{path:?} got through");
        Ok(())
    }

    async fn data(&mut self, bytes: Bytes) -> std::io::Result<()> {
        self.0 += bytes.len() as u64;
        Ok(())
    }

    async fn end(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const COLLECT: fn() -> Collect =
    || Collect { patterns: vec!["**".to_owned()], max_file_bytes: 1000, max_total_bytes: 1500, max_files: 3 };

#[tokio::test]
async fn hostile_artifacts_are_breaches() {
    let artifact = |path: &str, size| FromGuest::Artifact { path: path.to_owned(), size };
    let data = |size: usize, last| FromGuest::ArtifactData { data: vec![0; size], last };
    let scripts: Vec<(&str, Vec<FromGuest>)> = vec![
        ("a path that leads out", vec![artifact("../../etc/cron.d/x", 1)]),
        ("an absolute path", vec![artifact("/etc/passwd", 1)]),
        ("an empty path", vec![artifact("", 1)]),
        ("a large file", vec![artifact("a", 1001)]),
        ("a large sum", vec![artifact("a", 900), data(900, true), artifact("b", 900)]),
        ("many files", (0..4).flat_map(|n| [artifact(&n.to_string(), 1), data(1, true)]).collect()),
        ("more than announced", vec![artifact("a", 3), data(4, true)]),
        ("less than announced", vec![artifact("a", 3), data(2, true)]),
        ("data of no file", vec![data(1, true)]),
        ("a file within a file", vec![artifact("a", 3), artifact("b", 3)]),
        ("an end within a file", vec![artifact("a", 3), FromGuest::Collected { skipped: Vec::new() }]),
        ("output afterwards", vec![output(1)]),
    ];
    for (what, frames) in scripts {
        let mut all = vec![hello(), FromGuest::Started { pid: 2 }, exited()];
        all.extend(frames);
        let mut session = Session::open(scripted(bytes_of(&all)), &[]).await.expect("it says hello");
        assert_eq!(run(&mut session, Step::new(["true"])).await.code(), Some(0));
        let mut sink = Counting::default();
        let collected = session.collect(&COLLECT(), &mut sink).await;
        assert!(matches!(collected, Err(SandboxError::Protocol(_))), "{what}: {collected:?}");
        assert!(sink.0 <= 1500, "{what}: {} bytes got through", sink.0);
    }
}

/// A xorshift generator: a failure names the seed that repeats it.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % limit
    }

    fn number(&mut self) -> u32 {
        [0, 1, 7, u32::MAX, self.below(1 << 32) as u32][self.below(5) as usize]
    }

    fn text(&mut self) -> String {
        let texts = ["", "db.acme.com", "../../x", "a\0b", "\u{202e}\u{1b}[31m"];
        match texts.get(self.below(100) as usize % (texts.len() + 1)) {
            Some(text) => (*text).to_owned(),
            None => "x".repeat(self.below(70_000) as usize),
        }
    }

    fn data(&mut self) -> Vec<u8> {
        let sizes = [0, 1, 100, MAX_DATA_BYTES as u64, MAX_DATA_BYTES as u64 + 1];
        // Long ones seldom, so that the test is quick.
        let size = if self.below(50) == 0 { sizes[self.below(5) as usize] } else { self.below(64) };
        vec![self.below(256) as u8; size as usize]
    }

    fn frame(&mut self) -> FromGuest {
        let tunnel = self.below(4) as u32;
        let stream = if self.below(2) == 0 { Stream::Stdout } else { Stream::Stderr };
        match self.below(16) {
            0 => hello(),
            1 => FromGuest::Started { pid: self.number() },
            2..=4 => FromGuest::Output { stream, data: self.data() },
            5 => FromGuest::StdinCredit { bytes: self.number() },
            6 => FromGuest::Exited { code: Some(0), signal: None, max_rss_bytes: u64::MAX, cpu_us: u64::MAX },
            7 => FromGuest::TunnelOpen { tunnel, host: self.text(), port: self.number() as u16 },
            8 => FromGuest::TunnelData { tunnel, data: self.data() },
            9 => FromGuest::TunnelCredit { tunnel, bytes: self.number() },
            10 => FromGuest::TunnelClose { tunnel },
            11 => FromGuest::Denied { host: self.text(), port: 1 },
            12 => FromGuest::Artifact { path: self.text(), size: u64::from(self.number()) },
            13 => FromGuest::ArtifactData { data: self.data(), last: self.below(2) == 0 },
            14 => FromGuest::Collected { skipped: vec![(self.text(), self.text())] },
            _ => FromGuest::Failed { kind: FailureKind::Protocol, message: self.text() },
        }
    }

    /// Mostly whole frames in a plausible order, some of them damaged.
    fn script(&mut self) -> Vec<u8> {
        let mut bytes = bytes_of(&[hello()]);
        if self.below(4) > 0 {
            bytes.extend(bytes_of(&[FromGuest::Started { pid: 2 }]));
        }
        for _ in 0..FRAMES_PER_GUEST {
            let mut frame = Vec::new();
            if encode(&self.frame(), &mut frame).is_err() {
                continue;
            }
            if self.below(10) == 0 {
                let at = self.below(frame.len() as u64) as usize;
                frame[at] = self.below(256) as u8;
            }
            if self.below(40) == 0 {
                frame.truncate(self.below(frame.len() as u64) as usize);
            }
            bytes.extend(frame);
        }
        bytes
    }
}

#[tokio::test]
async fn random_and_mutated_frames_neither_panic_nor_hang() {
    let frames =
        std::env::var("SAGEWAI_FUZZ_FRAMES").ok().and_then(|text| text.parse().ok()).unwrap_or(FUZZ_FRAMES);
    let mut ended_well = 0;
    for seed in 1..=frames / FRAMES_PER_GUEST {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let bytes = random.script();
        let guest = async {
            let mut session = Session::open(scripted(bytes), &[]).await?;
            let step = Step::new(["cat"]).with_stdin(vec![1; 100_000]).within(Duration::from_millis(500));
            run(&mut session, step).await.exit?;
            session.collect(&COLLECT(), &mut Counting::default()).await
        };
        let outcome = tokio::time::timeout(Duration::from_secs(20), guest).await;
        let Ok(outcome) = outcome else { panic!("seed {seed} hangs") };
        ended_well += u64::from(outcome.is_ok());
    }
    assert!(ended_well < frames / FRAMES_PER_GUEST, "no guest was refused");
}
