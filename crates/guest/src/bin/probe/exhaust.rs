//! Uses up all that it can of one thing, and says how much that was.

#![expect(unsafe_code, reason = "raw system calls are what it is for")]

use std::io::Write;
use std::time::{Duration, Instant};

use crate::attempt::{child, exit_at_once, raw, words};

/// How long what was taken is held, so that a neighbour has time to suffer.
const HOLD: Duration = Duration::from_secs(2);
/// Bytes of a page of memory.
const PAGE_BYTES: usize = 4096;

/// Whether the command is one of these.
pub(crate) fn run(command: &str, rest: &[&str]) -> bool {
    let number = |text: &str| text.parse::<usize>().expect("a number");
    match (command, rest) {
        ("fork-bomb", [most]) => fork_bomb(number(most)),
        ("memory-bomb", [processes, bytes]) => memory_bomb(number(processes), number(bytes)),
        ("fill", [bytes, folders @ ..]) => fill(number(bytes), folders),
        ("make-files", [most]) => make_files(number(most)),
        ("take-descriptors", [most]) => hold("descriptors", number(most), || raw(libc::SYS_dup, words![0])),
        ("take-inotify", [most]) => hold("inotify", number(most), || raw(libc::SYS_inotify_init1, words![0])),
        ("take-terminals", [most]) => take_terminals(number(most)),
        ("flood", []) => flood(),
        ("burn", [seconds]) => burn(number(seconds)),
        ("fine", []) => fine(),
        _ => return false,
    }
    true
}

fn say(text: &str) {
    println!("{text}");
    drop(std::io::stdout().flush());
}

/// Children that fork too, as fast as they can.
fn fork_bomb(most: usize) {
    let began = Instant::now();
    let mut made = 0;
    while made < most
        && child(|| while began.elapsed() < HOLD && child(|| std::thread::sleep(HOLD)).is_some() {}).is_some()
    {
        made += 1;
    }
    say(&made.to_string());
    std::thread::sleep(HOLD.saturating_sub(began.elapsed()));
}

/// Processes that each touch so many bytes, and keep them until all have.
fn memory_bomb(processes: usize, bytes: usize) {
    let children: Vec<i32> = (0..processes)
        .filter_map(|_| {
            child(|| {
                let mut memory = vec![0_u8; bytes];
                memory.iter_mut().step_by(PAGE_BYTES).for_each(|byte| *byte = 1);
                std::hint::black_box(&memory);
                std::thread::sleep(HOLD);
                say("whole");
                exit_at_once(0)
            })
        })
        .collect();
    for pid in children {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(pid, std::ptr::null_mut(), 0) };
    }
}

/// Bytes written to each folder, at most so many: a line each.
fn fill(most: usize, folders: &[&str]) {
    let block = [b'x'; 1 << 16];
    let mut files = Vec::new();
    for folder in folders {
        let mut written = 0;
        if let Ok(mut file) = std::fs::File::create(format!("{folder}/fill")) {
            while written < most && file.write_all(&block).is_ok() {
                written += block.len();
            }
            files.push(file);
        }
        say(&format!("{folder} {written}"));
    }
}

fn make_files(most: usize) {
    let made = (0..most).take_while(|n| std::fs::write(format!("file-{n}"), "").is_ok()).count();
    say(&made.to_string());
    std::thread::sleep(HOLD);
}

/// Takes until it is refused, says how many, and holds them.
fn hold(what: &str, most: usize, mut take: impl FnMut() -> Option<i64>) {
    let taken = (0..most).take_while(|_| take().is_some()).count();
    say(&format!("{what} {taken}"));
    std::thread::sleep(HOLD);
}

/// By several processes, since each has few descriptors.
fn take_terminals(most: usize) {
    let mut total = 0;
    while total < most {
        let mut ends = [0_i32; 2];
        // SAFETY: the pointer is to two descriptors.
        unsafe { libc::pipe(ends.as_mut_ptr()) };
        let [read, write] = ends;
        let taking = child(|| {
            let open =
                || raw(libc::SYS_openat, words![libc::AT_FDCWD, c"/dev/ptmx", libc::O_RDWR | libc::O_NOCTTY]);
            let taken = (0..most).take_while(|_| open().is_some()).count() as u64;
            raw(libc::SYS_write, words![write, &taken.to_ne_bytes()[..], 8]);
            std::thread::sleep(2 * HOLD);
        });
        let mut taken = [0_u8; 8];
        if taking.is_some() {
            // SAFETY: the buffer has 8 bytes.
            unsafe { libc::read(read, taken.as_mut_ptr().cast(), 8) };
        }
        match u64::from_ne_bytes(taken) {
            0 => break,
            taken => total += taken as usize,
        }
    }
    say(&format!("terminals {total}"));
    std::thread::sleep(HOLD);
}

/// Three processes that write without end.
fn flood() {
    let write = |descriptor: i32| {
        let block = [b'y'; 1 << 14];
        while raw(libc::SYS_write, words![descriptor, &block[..], block.len()]).is_some() {}
    };
    child(|| write(1));
    child(|| write(2));
    write(1);
}

/// All processors, for so long.
fn burn(seconds: usize) {
    let end = Instant::now() + Duration::from_secs(seconds as u64);
    let spin = move || while Instant::now() < end {};
    for _ in 0..7 {
        child(spin);
    }
    spin();
}

/// What a neighbour needs: a child, memory, a file, an inotify instance, a terminal.
fn fine() {
    let worked = [
        child(|| ()).is_some(),
        std::hint::black_box(vec![1_u8; 1 << 20]).len() == 1 << 20,
        std::fs::write("fine", "x").is_ok(),
        raw(libc::SYS_inotify_init1, words![0]).is_some(),
        std::fs::File::open("/dev/ptmx").is_ok() || !std::path::Path::new("/dev/ptmx").exists(),
    ];
    println!(
        "{}",
        if worked.iter().all(|worked| *worked) { "fine".to_owned() } else { format!("{worked:?}") }
    );
}
