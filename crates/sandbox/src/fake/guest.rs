//! The fake's guest: the order of the frame protocol, credits and sealed identities included, over a handful of programs.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use protocol::broker::Sealed;
use protocol::frame::codec::{Decoder, encode};
use protocol::frame::{
    FRAME_VERSION, FailureKind, FromGuest, Layer, LayerReport, MAX_DATA_BYTES, STREAM_WINDOW_BYTES,
    StartStep, Stream, ToGuest,
};
use seal::{GuestKey, PublicKey};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes read at a time.
const READ_BYTES: usize = 8 * 1024;
/// Bytes that `yes` has ready ahead of its credit.
const YES_AHEAD_BYTES: usize = MAX_DATA_BYTES;
/// The folder of files that are not the step's own.
const INTERNAL: &str = ".sagewai/";
/// Signal numbers of Linux.
const SIGKILL: i32 = 9;

/// All layers, none of them enforced.
pub(super) fn layers() -> Vec<LayerReport> {
    [Layer::UserNamespace, Layer::Seccomp, Layer::UndumpableGuest]
        .map(|layer| LayerReport { layer, enforced: false, note: "the fake isolates nothing".to_owned() })
        .to_vec()
}

/// Speaks until the channel ends.
pub(super) async fn serve(mut channel: DuplexStream) {
    let Ok(key) = GuestKey::generate() else { return };
    let mut guest = Guest::default();
    guest.say(&FromGuest::Hello { version: FRAME_VERSION, public_key: key.public_bytes(), layers: layers() });
    guest.key = Some(key);
    let mut decoder = Decoder::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        if channel.write_all(&std::mem::take(&mut guest.said)).await.is_err() {
            return;
        }
        match channel.read(&mut buffer).await {
            Ok(bytes @ 1..) => decoder.feed(&buffer[..bytes]),
            _ => return,
        }
        loop {
            match decoder.take() {
                Ok(Some(frame)) => guest.hear(frame),
                Ok(None) => break,
                Err(_) => return,
            }
        }
    }
}

#[derive(Default)]
struct Guest {
    /// Encoded frames to be written.
    said: Vec<u8>,
    key: Option<GuestKey>,
    files: BTreeMap<String, Vec<u8>>,
    putting: String,
    program: Program,
    /// Output without credit yet, per stream.
    output: [Vec<u8>; 2],
    credit: [u32; 2],
    /// How the program ends once its output is out.
    ending: Option<(Option<i32>, Option<i32>)>,
}

#[derive(Default, PartialEq)]
enum Program {
    #[default]
    None,
    Cat,
    Sleep,
    /// Sleeps, and ends by force alone.
    Deaf,
    Yes,
    Gone,
}

/// What a program says, and how it goes on.
struct Run {
    program: Program,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    ending: Option<(Option<i32>, Option<i32>)>,
}

impl Run {
    fn ends(code: i32, stdout: impl Into<Vec<u8>>) -> Self {
        Self {
            program: Program::None,
            stdout: stdout.into(),
            stderr: Vec::new(),
            ending: Some((Some(code), None)),
        }
    }

    fn goes_on(program: Program) -> Self {
        Self { program, stdout: Vec::new(), stderr: Vec::new(), ending: None }
    }
}

impl Guest {
    fn say(&mut self, frame: &FromGuest) {
        encode(frame, &mut self.said).expect("the fake's frames are short");
    }

    fn fail(&mut self, kind: FailureKind, message: impl Into<String>) {
        self.say(&FromGuest::Failed { kind, message: message.into() });
    }

    fn hear(&mut self, frame: ToGuest) {
        match frame {
            ToGuest::PutFile { path, .. } => {
                self.files.insert(path.clone(), Vec::new());
                self.putting = path;
            }
            ToGuest::PutData { data, .. } => self.files.entry(self.putting.clone()).or_default().extend(data),
            ToGuest::Start(start) => self.start(&start),
            ToGuest::Stdin { data } if self.program == Program::Cat => {
                if data.is_empty() {
                    self.ending = Some((Some(0), None));
                } else {
                    self.say(&FromGuest::StdinCredit { bytes: data.len() as u32 });
                    self.output[0].extend(data);
                }
            }
            ToGuest::Signal { number } if self.program != Program::Deaf => self.die(number),
            ToGuest::Kill => self.die(SIGKILL),
            ToGuest::OutputCredit { stream, bytes } => self.credit[index(stream)] += bytes,
            ToGuest::Collect { patterns, max_file_bytes, .. } => self.collect(&patterns, max_file_bytes),
            _ => {}
        }
        self.pump();
    }

    fn start(&mut self, start: &StartStep) {
        let impossible = |(name, value): &(&String, &String)| {
            name.is_empty() || name.contains(['=', '\0']) || value.contains('\0')
        };
        if let Some((name, _)) = start.environment.iter().find(impossible) {
            let message = format!("the step's environment cannot have the variable `{name}`");
            return self.fail(FailureKind::NotFound, message);
        }
        let secrets = match self.open_identity(start) {
            Ok(secrets) => secrets,
            Err(why) => return self.fail(FailureKind::Sealed, why),
        };
        // The suites' own program, or one of the same name.
        let words: Vec<&str> = start.argv.iter().map(String::as_str).collect();
        let words = match words.as_slice() {
            [program, words @ ..] if program.ends_with("/probe") => words,
            words => words,
        };
        let Some(run) = self.program(words, start, &secrets) else {
            let message = format!("{}: no such program", words.first().unwrap_or(&""));
            return self.fail(FailureKind::NotFound, message);
        };
        self.credit = [STREAM_WINDOW_BYTES; 2];
        (self.program, self.output, self.ending) = (run.program, [run.stdout, run.stderr], run.ending);
        self.say(&FromGuest::Started { pid: 2 });
    }

    fn program(&self, words: &[&str], start: &StartStep, secrets: &BTreeMap<String, String>) -> Option<Run> {
        let number = |text: &str| text.parse().unwrap_or(0);
        let environment =
            || start.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect::<String>();
        Some(match words {
            ["true"] => Run::ends(0, ""),
            ["false"] => Run::ends(1, ""),
            ["echo", words @ ..] => Run::ends(0, format!("{}\n", words.join(" "))),
            ["exit", code] => Run::ends(number(code), ""),
            ["raise", signal] => Run { ending: Some((None, Some(number(signal)))), ..Run::ends(0, "") },
            ["env"] => Run::ends(0, environment()),
            ["cat"] => Run::goes_on(Program::Cat),
            ["cat", path] => Run::ends(0, self.files.get(*path).cloned().unwrap_or_default()),
            ["both", bytes] => {
                let bytes = bytes.parse().unwrap_or(0);
                Run { stderr: vec![b'e'; bytes], ..Run::ends(0, vec![b'o'; bytes]) }
            }
            ["spell", name] => spell(secrets.get(*name).map_or("", String::as_str)),
            ["sleep", ..] => Run::goes_on(Program::Sleep),
            ["deaf", ..] => Run::goes_on(Program::Deaf),
            ["yes"] => Run::goes_on(Program::Yes),
            _ => return None,
        })
    }

    /// Opens the sealed identity, as far as there is one.
    fn open_identity(&mut self, start: &StartStep) -> Result<BTreeMap<String, String>, String> {
        let key = self.key.take();
        let Some(sealed) = &start.sealed else { return Ok(BTreeMap::new()) };
        let (Some(key), Some(broker), Some(attempt)) = (key, &start.broker_key, start.attempt) else {
            return Err("the broker's key or the attempt is missing".to_owned());
        };
        let sealed: Sealed = serde_json::from_str(sealed).map_err(|error| error.to_string())?;
        let broker = PublicKey::from_bytes(broker).map_err(|error| error.to_string())?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
        let payload = seal::sealed::open(&key, &sealed, &broker, attempt, now.cast_signed())
            .map_err(|error| error.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(payload.entries().iter().map(|entry| (entry.name().to_owned(), text(entry.value()))).collect())
    }

    fn die(&mut self, signal: i32) {
        if self.program != Program::Gone {
            self.program = Program::None;
            self.output = Default::default();
            self.ending = Some((None, Some(signal)));
        }
    }

    /// Sends what there is credit for, and the end after all output.
    fn pump(&mut self) {
        loop {
            if self.program == Program::Yes && self.output[0].len() < YES_AHEAD_BYTES {
                self.output[0].resize(YES_AHEAD_BYTES, b'y');
            }
            let ready =
                |stream: &Stream| !self.output[index(*stream)].is_empty() && self.credit[index(*stream)] > 0;
            let Some(stream) = [Stream::Stdout, Stream::Stderr].into_iter().find(ready) else { break };
            let (output, credit) = (&mut self.output[index(stream)], &mut self.credit[index(stream)]);
            let data: Vec<u8> =
                output.drain(..output.len().min(MAX_DATA_BYTES).min(*credit as usize)).collect();
            *credit -= data.len() as u32;
            self.say(&FromGuest::Output { stream, data });
        }
        if self.output.iter().all(Vec::is_empty)
            && let Some((code, signal)) = self.ending.take()
        {
            self.program = Program::Gone;
            self.say(&FromGuest::Exited { code, signal, max_rss_bytes: 1 << 20, cpu_us: 1000 });
        }
    }

    /// Knows `*` and `**/*` at the beginning of a pattern, and `**` alone.
    fn collect(&mut self, patterns: &[String], max_file_bytes: u64) {
        let mut skipped = Vec::new();
        for (path, content) in self.files.clone() {
            let wanted = |pattern: &String| match pattern.trim_start_matches("**/").strip_prefix('*') {
                Some("*") => true,
                Some(ending) => path.ends_with(ending),
                None => path == *pattern,
            };
            if path.starts_with(INTERNAL) || !patterns.iter().any(wanted) {
                continue;
            }
            if content.len() as u64 > max_file_bytes {
                skipped.push((path, "too large".to_owned()));
                continue;
            }
            self.say(&FromGuest::Artifact { path, size: content.len() as u64 });
            let mut chunks = content.chunks(MAX_DATA_BYTES).peekable();
            if chunks.peek().is_none() {
                self.say(&FromGuest::ArtifactData { data: Vec::new(), last: true });
            }
            while let Some(chunk) = chunks.next() {
                self.say(&FromGuest::ArtifactData { data: chunk.to_vec(), last: chunks.peek().is_none() });
            }
        }
        self.say(&FromGuest::Collected { skipped });
    }
}

/// What the probe's `spell` says, masked.
fn spell(value: &str) -> Run {
    let sum: u32 = value.bytes().map(u32::from).sum();
    let masked = "plain [REDACTED:1]\n";
    let all = format!("sum {sum}\nname [KEY:1]\n{masked}hex [REDACTED:1]\nbase64 [REDACTED:1]\n");
    Run { stderr: masked.into(), ..Run::ends(0, all) }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}
