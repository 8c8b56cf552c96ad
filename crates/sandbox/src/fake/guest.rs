//! The fake's guest: the order of the frame protocol, credits included, over a handful of programs.

use std::collections::BTreeMap;

use protocol::frame::codec::{Decoder, encode};
use protocol::frame::{
    FRAME_VERSION, FailureKind, FromGuest, Layer, LayerReport, MAX_DATA_BYTES, STREAM_WINDOW_BYTES,
    StartStep, Stream, ToGuest,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Bytes read at a time.
const READ_BYTES: usize = 8 * 1024;
/// Bytes that `yes` has ready ahead of its credit.
const YES_AHEAD_BYTES: usize = MAX_DATA_BYTES;

/// All layers, none of them enforced.
pub(super) fn layers() -> Vec<LayerReport> {
    [Layer::UserNamespace, Layer::Seccomp, Layer::UndumpableGuest]
        .map(|layer| LayerReport { layer, enforced: false, note: "the fake isolates nothing".to_owned() })
        .to_vec()
}

/// Speaks until the channel ends.
pub(super) async fn serve(mut channel: DuplexStream) {
    let mut guest = Guest::default();
    let hello = FromGuest::Hello { version: FRAME_VERSION, public_key: [7; 32], layers: layers() };
    guest.say(&hello);
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
    files: BTreeMap<String, Vec<u8>>,
    putting: String,
    program: Program,
    /// Output without credit yet.
    output: Vec<u8>,
    credit: u32,
    /// How the program ends once its output is out.
    ending: Option<(Option<i32>, Option<i32>)>,
}

#[derive(Default, PartialEq)]
enum Program {
    #[default]
    None,
    Cat,
    Sleep,
    Yes,
    Gone,
}

impl Guest {
    fn say(&mut self, frame: &FromGuest) {
        encode(frame, &mut self.said).expect("the fake's frames are short");
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
                    self.output.extend(data);
                }
            }
            ToGuest::Signal { number } => self.die(number),
            ToGuest::Kill => self.die(9),
            ToGuest::OutputCredit { bytes, .. } => self.credit += bytes,
            ToGuest::Collect { patterns, max_file_bytes, .. } => self.collect(&patterns, max_file_bytes),
            _ => {}
        }
        self.pump();
    }

    fn start(&mut self, start: &StartStep) {
        let argument = start.argv.get(1).cloned().unwrap_or_default();
        let code = |code| Some((Some(code), None));
        let environment =
            || start.environment.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        let (program, output, ending): (_, String, _) = match start.argv.first().map_or("", String::as_str) {
            "true" => (Program::None, String::new(), code(0)),
            "false" => (Program::None, String::new(), code(1)),
            "echo" => (Program::None, format!("{}\n", start.argv[1..].join(" ")), code(0)),
            "env" => (Program::None, environment(), code(0)),
            "cat" if argument.is_empty() => (Program::Cat, String::new(), None),
            "cat" => {
                let content = self.files.get(&argument).cloned().unwrap_or_default();
                (Program::None, String::from_utf8_lossy(&content).into_owned(), code(0))
            }
            "sleep" => (Program::Sleep, String::new(), None),
            "yes" => (Program::Yes, String::new(), None),
            other => {
                let message = format!("{other}: no such program");
                return self.say(&FromGuest::Failed { kind: FailureKind::NotFound, message });
            }
        };
        self.credit = STREAM_WINDOW_BYTES;
        (self.program, self.output, self.ending) = (program, output.into_bytes(), ending);
        self.say(&FromGuest::Started { pid: 2 });
    }

    fn die(&mut self, signal: i32) {
        if self.program != Program::Gone {
            self.program = Program::None;
            self.output.clear();
            self.ending = Some((None, Some(signal)));
        }
    }

    /// Sends what there is credit for, and the end after all output.
    fn pump(&mut self) {
        loop {
            if self.program == Program::Yes && self.output.len() < YES_AHEAD_BYTES {
                self.output.resize(YES_AHEAD_BYTES, b'y');
            }
            let size = self.output.len().min(MAX_DATA_BYTES).min(self.credit as usize);
            if size == 0 {
                break;
            }
            let data = self.output.drain(..size).collect();
            self.credit -= size as u32;
            self.say(&FromGuest::Output { stream: Stream::Stdout, data });
        }
        if self.output.is_empty()
            && let Some((code, signal)) = self.ending.take()
        {
            self.program = Program::Gone;
            self.say(&FromGuest::Exited { code, signal, max_rss_bytes: 1 << 20, cpu_us: 1000 });
        }
    }

    /// Knows `*` at the beginning of a pattern only.
    fn collect(&mut self, patterns: &[String], max_file_bytes: u64) {
        let mut skipped = Vec::new();
        for (path, content) in self.files.clone() {
            let wanted = |pattern: &String| match pattern.strip_prefix('*') {
                Some(ending) => path.ends_with(ending),
                None => path == *pattern,
            };
            if !patterns.iter().any(wanted) {
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
