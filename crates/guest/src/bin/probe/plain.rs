//! What plain programs do.

#![expect(unsafe_code, reason = "signals and limits have no safe interface in the standard library")]

use std::io::{IsTerminal, Read, Write};
use std::time::Duration;

/// Bytes written at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// Whether the command is one of these.
pub(crate) fn run(command: &str, rest: &[&str]) -> bool {
    match (command, rest) {
        ("echo", words) => println!("{}", words.join(" ")),
        ("exit", [code]) => std::process::exit(code.parse().expect("a number")),
        ("raise", [number]) => raise(number.parse().expect("a number")),
        ("env", []) => std::env::vars().for_each(|(name, value)| println!("{name}={value}")),
        ("cat", []) => drop(std::io::copy(&mut std::io::stdin(), &mut Unbuffered)),
        ("cat", [path]) => drop(std::io::stdout().write_all(&std::fs::read(path).expect("it can be read"))),
        ("sleep", [seconds, ..]) => {
            std::thread::sleep(Duration::from_secs(seconds.parse().expect("a number")))
        }
        ("deaf", [seconds, ..]) => deaf(seconds.parse().expect("a number")),
        ("yes", []) => while Unbuffered.write_all(&[b'y'; BLOCK_BYTES]).is_ok() {},
        ("both", [bytes]) => both(bytes.parse().expect("a number")),
        ("make", [path, bytes]) => make(path, bytes.parse().expect("a number")),
        ("places", folders) => places(folders),
        ("limits", []) => limits(),
        ("terminal", []) => terminal(),
        ("spell", [name]) => spell(name),
        ("user", []) => println!(
            "{}",
            std::fs::read_to_string("/proc/self/status")
                .map_or_else(|_| String::new(), |status| field(&status, "Uid"),)
        ),
        ("relay", []) => relay(),
        _ => return false,
    }
    true
}

fn field(status: &str, name: &str) -> String {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    value.map_or_else(String::new, |value| value.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// Standard output without a buffer: what is written is out.
struct Unbuffered;

impl Write for Unbuffered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let mut out = std::io::stdout().lock();
        out.write_all(bytes)?;
        out.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn raise(number: i32) {
    // SAFETY: raise takes any number.
    unsafe { libc::raise(number) };
}

/// Ignores every signal that can be ignored.
pub(crate) fn deaf(seconds: u64) {
    for number in [libc::SIGTERM, libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        // SAFETY: ignoring is a valid action for these signals.
        unsafe { libc::signal(number, libc::SIG_IGN) };
    }
    std::thread::sleep(Duration::from_secs(seconds));
}

/// As many bytes to each output, in turn.
fn both(bytes: usize) {
    let mut left = bytes;
    while left > 0 {
        let size = left.min(10_007);
        std::io::stdout().write_all(&vec![b'o'; size]).expect("somebody reads");
        std::io::stderr().write_all(&vec![b'e'; size]).expect("somebody reads");
        left -= size;
    }
    std::io::stdout().flush().expect("somebody reads");
}

fn make(path: &str, bytes: usize) {
    if let Some(folder) = std::path::Path::new(path).parent() {
        std::fs::create_dir_all(folder).expect("a folder can be made");
    }
    let content: Vec<u8> = (0..bytes).map(|n| (n % 255) as u8).collect();
    std::fs::write(path, content).expect("it can be written");
}

/// Where the step is, what is in folders, and whether they can be written.
fn places(folders: &[&str]) {
    println!("in {}", std::env::current_dir().unwrap_or_default().display());
    for folder in folders {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort_unstable();
        let file = format!("{folder}/probe-new");
        let writable = std::fs::write(&file, "x").and_then(|()| std::fs::remove_file(&file)).is_ok();
        println!("{folder}: {}, {}", names.join(" "), if writable { "writable" } else { "closed" });
    }
}

fn limits() {
    for (name, resource) in [
        ("data", libc::RLIMIT_DATA),
        ("processes", libc::RLIMIT_NPROC),
        ("file", libc::RLIMIT_FSIZE),
        ("descriptors", libc::RLIMIT_NOFILE),
        ("core", libc::RLIMIT_CORE),
    ] {
        let mut limits = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        // SAFETY: the pointer is to a local of the right type.
        unsafe { libc::getrlimit(resource, &mut limits) };
        println!("{name} {}", limits.rlim_max);
    }
}

fn terminal() {
    let (input, output, error) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
    println!("terminals {} {} {}", input.is_terminal(), output.is_terminal(), error.is_terminal());
    let mut line = String::new();
    drop(input.read_line(&mut line));
    println!("got {}", line.trim());
}

/// A secret in several forms, as tools print it, in parts as programs do.
fn spell(name: &str) {
    let value = std::env::var(name).unwrap_or_default();
    println!("sum {}", value.bytes().map(u32::from).sum::<u32>());
    println!("name {name}");
    let mut out = Unbuffered;
    drop(out.write_all(b"plain "));
    value.bytes().for_each(|byte| drop(out.write_all(&[byte])));
    println!();
    println!("hex {}", value.bytes().map(|byte| format!("{byte:02x}")).collect::<String>());
    println!("base64 {}", base64(value.as_bytes()));
    eprintln!("plain {value}");
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let at = |place: usize| u32::from(group.get(place).copied().unwrap_or(0));
        let bits = at(0) << 16 | at(1) << 8 | at(2);
        for place in 0..4 {
            let digit = bits >> (18 - 6 * place) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[digit as usize]) } else { '=' });
        }
    }
    text
}

/// FNV-1a, to tell files apart.
pub(crate) fn digest(bytes: &[u8]) -> String {
    let fold = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    format!("{:016x}", bytes.iter().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// Standard input to both outputs, and an exit code that a forged frame would change.
fn relay() {
    let mut bytes = Vec::new();
    drop(std::io::stdin().read_to_end(&mut bytes));
    drop(std::io::stdout().write_all(&bytes));
    drop(std::io::stdout().flush());
    drop(std::io::stderr().write_all(&bytes));
    std::process::exit(3);
}
