//! Images that tests make, well-formed or hostile, as a folder for other tools and from a registry of a few lines that can
//! misbehave on demand.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use super::digest::Digest;
use super::manifest::architecture;

const BLOCK: usize = 512;
/// Layers below this are compressed.
const MAX_GZIP_BYTES: usize = 1 << 20;

/// Writes a tar stream without any check.
#[derive(Clone, Default)]
pub struct TarWriter(Vec<u8>);

impl TarWriter {
    /// An empty one.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a folder.
    #[must_use]
    pub fn folder(self, path: &str) -> Self {
        self.entry(b'5', path, "", 0o755, &[])
    }

    /// Adds a file.
    #[must_use]
    pub fn file(self, path: &str, mode: u32, content: &[u8]) -> Self {
        self.entry(b'0', path, "", mode, content)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn link(self, path: &str, target: &str) -> Self {
        self.entry(b'2', path, target, 0o777, &[])
    }

    /// Adds a hard link.
    #[must_use]
    pub fn hard_link(self, path: &str, target: &str) -> Self {
        self.entry(b'1', path, target, 0o644, &[])
    }

    /// Adds an entry of any type; names that do not fit get a PAX header.
    #[must_use]
    pub fn entry(mut self, kind: u8, path: &str, target: &str, mode: u32, content: &[u8]) -> Self {
        let mut records = Vec::new();
        for (key, value) in [("path", path), ("linkpath", target)] {
            if value.len() > 99 || value.contains('\0') {
                // The length counts its own digits.
                let rest = key.len() + value.len() + 3;
                let length = (1..6)
                    .map(|digits| rest + digits)
                    .find(|length| length.to_string().len() + rest == *length);
                let length = length.expect("a record is shorter than a megabyte");
                records.extend_from_slice(format!("{length} {key}={value}\n").as_bytes());
            }
        }
        if !records.is_empty() {
            self.block(b'x', b"pax", b"", 0o644, &records);
        }
        let cut = |text: &str| text.bytes().take(99).filter(|byte| *byte != 0).collect::<Vec<u8>>();
        self.block(kind, &cut(path), &cut(target), mode, content);
        self
    }

    fn block(&mut self, kind: u8, path: &[u8], target: &[u8], mode: u32, content: &[u8]) {
        let mut header = [0_u8; BLOCK];
        header[..path.len()].copy_from_slice(path);
        header[100..108].copy_from_slice(format!("{mode:07o}\0").as_bytes());
        header[108..116].copy_from_slice(b"0000000\0");
        header[116..124].copy_from_slice(b"0000000\0");
        header[124..136].copy_from_slice(format!("{:011o}\0", content.len()).as_bytes());
        header[136..148].copy_from_slice(format!("{:011o}\0", 1_600_000_000).as_bytes());
        header[156] = kind;
        header[157..157 + target.len()].copy_from_slice(target);
        header[257..265].copy_from_slice(b"ustar\x0000");
        seal_header(&mut header);
        self.0.extend_from_slice(&header);
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(BLOCK), 0);
    }

    /// The stream, ended.
    pub fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 2 * BLOCK, 0);
        self.0
    }
}

/// Writes a header's checksum.
pub fn seal_header(header: &mut [u8]) {
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

/// An image to be made.
#[derive(Clone, Default)]
pub struct MadeImage {
    /// Plain tar streams, from the lowest.
    pub layers: Vec<Vec<u8>>,
    /// The configuration's `config`.
    pub process: Value,
    /// The configuration's architecture; absent means this machine's.
    pub architecture: Option<String>,
}

/// An image's parts.
pub struct Parts {
    /// By digest: layers, configuration and manifest.
    pub blobs: BTreeMap<String, Vec<u8>>,
    /// Digest of the manifest.
    pub manifest: Digest,
    /// Digests of the layers as they are sent, from the lowest.
    pub layers: Vec<Digest>,
}

impl MadeImage {
    /// With these layers.
    pub fn new(layers: impl IntoIterator<Item = TarWriter>) -> Self {
        let layers = layers.into_iter().map(TarWriter::finish).collect();
        Self { layers, process: json!({}), architecture: None }
    }

    /// Compressed and named.
    pub fn parts(&self) -> Parts {
        let mut blobs = BTreeMap::new();
        let mut add = |bytes: Vec<u8>, media_type: &str| {
            let digest = Digest::of(&bytes);
            let descriptor =
                json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()});
            blobs.insert(digest.to_string(), bytes);
            (digest, descriptor)
        };
        let diff_ids: Vec<String> = self.layers.iter().map(|layer| Digest::of(layer).to_string()).collect();
        let (layers, descriptors): (Vec<_>, Vec<_>) =
            self.layers.iter().map(|tar| layer(tar)).map(|(sent, media_type)| add(sent, media_type)).unzip();
        let config = json!({
            "architecture": self.architecture.as_deref().unwrap_or(architecture()), "os": "linux", "config": self.process,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        });
        let (_, config) = add(config.to_string().into_bytes(), "application/vnd.oci.image.config.v1+json");
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": config, "layers": descriptors,
        });
        let (manifest, _) =
            add(manifest.to_string().into_bytes(), "application/vnd.oci.image.manifest.v1+json");
        Parts { blobs, manifest, layers }
    }

    /// Writes an OCI image layout with one tag, as skopeo and umoci read it.
    pub fn write_layout(&self, folder: &Path, tag: &str) -> io::Result<()> {
        let parts = self.parts();
        let blobs = folder.join("blobs/sha256");
        std::fs::create_dir_all(&blobs)?;
        for (digest, bytes) in &parts.blobs {
            std::fs::write(blobs.join(digest.trim_start_matches("sha256:")), bytes)?;
        }
        let size = parts.blobs[&parts.manifest.to_string()].len();
        let index = json!({"schemaVersion": 2, "manifests": [{
            "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": parts.manifest.to_string(), "size": size,
            "annotations": {"org.opencontainers.image.ref.name": tag},
        }]});
        std::fs::write(folder.join("index.json"), index.to_string())?;
        std::fs::write(folder.join("oci-layout"), json!({"imageLayoutVersion": "1.0.0"}).to_string())
    }
}

/// A layer as it is sent. To compress a large one takes an unoptimised build long.
fn layer(tar: &[u8]) -> (Vec<u8>, &'static str) {
    match tar.len() {
        0..MAX_GZIP_BYTES => (gzip(tar), "application/vnd.oci.image.layer.v1.tar+gzip"),
        _ => (tar.to_vec(), "application/vnd.oci.image.layer.v1.tar"),
    }
}

/// A gzip stream of these bytes.
pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("a vector takes all that is written")
}

/// A registry of a few lines on loopback, for what a real one would not do. It serves until the process ends.
pub struct Shelf {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    /// `repository:tag`, or a digest → bytes.
    documents: BTreeMap<String, Vec<u8>>,
    /// `user:password`, base64, without which there is nothing.
    basic: Option<String>,
    /// Whether a token is asked for first.
    tokens: bool,
    /// Blobs of which so many bytes are sent, and then the connection breaks, so many times.
    breaking: BTreeMap<String, (usize, u32)>,
    /// Where blobs are sent on to.
    elsewhere: Option<String>,
    requests: Vec<String>,
}

impl Shelf {
    /// Starts one.
    pub fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                std::thread::spawn(move || answer(stream, &shared));
            }
        });
        Ok(Self { address, state })
    }

    /// `host:port`.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Puts an image up; returns the digest of its manifest.
    pub fn put(&self, name: &str, image: &MadeImage) -> Digest {
        let parts = image.parts();
        self.with(|state| {
            let manifest = parts.blobs[&parts.manifest.to_string()].clone();
            state.documents.insert(name.to_owned(), manifest);
            state.documents.extend(parts.blobs);
        });
        parts.manifest
    }

    /// Puts any bytes up, under a digest that may not be theirs or under `repository:tag`.
    pub fn put_bytes(&self, name: &str, bytes: &[u8]) {
        self.with(|state| state.documents.insert(name.to_owned(), bytes.to_vec()));
    }

    /// Asks for credentials (`user:password`, base64), by a token if `tokens`.
    pub fn lock(&self, basic: &str, tokens: bool) {
        self.with(|state| (state.basic, state.tokens) = (Some(basic.to_owned()), tokens));
    }

    /// Breaks the connection after so many bytes of a blob, so many times.
    pub fn break_off(&self, digest: Digest, bytes: usize, times: u32) {
        self.with(|state| state.breaking.insert(digest.to_string(), (bytes, times)));
    }

    /// Sends who asks for blobs elsewhere.
    pub fn redirect_blobs(&self, base: &str) {
        self.with(|state| state.elsewhere = Some(base.to_owned()));
    }

    /// All requests so far: path, then authorization.
    pub fn requests(&self) -> Vec<String> {
        self.with(|state| state.requests.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn answer(stream: TcpStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(&stream);
    let (mut path, mut authorization) = (String::new(), String::new());
    let mut line = String::new();
    loop {
        line.clear();
        if reader.by_ref().take(16 << 10).read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let text = line.trim_end();
        if text.is_empty() {
            break;
        }
        if path.is_empty() {
            path = text.split(' ').nth(1).unwrap_or_default().to_owned();
        } else if let Some((name, value)) = text.split_once(": ")
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = value.to_owned();
        }
    }
    let host = stream.local_addr().map(|address| address.to_string()).unwrap_or_default();
    let response =
        respond(&host, &path, &authorization, &mut state.lock().unwrap_or_else(PoisonError::into_inner));
    // A client that went away is its own affair.
    let _ = (&stream).write_all(&response);
}

fn respond(host: &str, path: &str, authorization: &str, state: &mut State) -> Vec<u8> {
    state.requests.push(format!("{path} {authorization}"));
    let reply = |status: &str, headers: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let basic = state.basic.as_ref().map(|basic| format!("Basic {basic}"));
    if path.starts_with("/token") {
        return match basic.is_some_and(|basic| basic == authorization) {
            true => reply("200 OK", "", br#"{"token":"the-token"}"#),
            false => reply("401 Unauthorized", "", b""),
        };
    }
    let wanted = if state.tokens { Some("Bearer the-token".to_owned()) } else { basic };
    if wanted.is_some_and(|wanted| wanted != authorization) {
        let challenge = match state.tokens {
            true => format!("WWW-Authenticate: Bearer realm=\"http://{host}/token\",service=\"shelf\"\r\n"),
            false => "WWW-Authenticate: Basic realm=\"shelf\"\r\n".to_owned(),
        };
        return reply("401 Unauthorized", &challenge, b"");
    }
    let parts: Vec<&str> = path.trim_start_matches("/v2/").rsplitn(3, '/').collect();
    let [name, kind, repository] = parts[..] else { return reply("404 Not Found", "", b"") };
    if let (Some(base), "blobs") = (&state.elsewhere, kind) {
        return reply("307 Temporary Redirect", &format!("Location: {base}{path}\r\n"), b"");
    }
    let key = if name.starts_with("sha256:") { name.to_owned() } else { format!("{repository}:{name}") };
    let Some(body) = state.documents.get(&key) else { return reply("404 Not Found", "", b"") };
    let mut whole = reply("200 OK", "", body);
    if let Some((bytes, times)) = state.breaking.get_mut(&key).filter(|(_, times)| *times > 0) {
        *times -= 1;
        whole.truncate(whole.len() - body.len() + *bytes);
    }
    whole
}
