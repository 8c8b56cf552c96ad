//! What a step may leave behind: processes that cling to life, files, links.

#![expect(unsafe_code, reason = "sessions and signals have no safe interface in the standard library")]

use std::os::unix::fs::symlink;

use crate::attempt::child;
use crate::plain::deaf;

/// How long what is left behind would stay, seconds.
const STAY_SECONDS: u64 = 1000;

/// Whether the command is one of these.
pub(crate) fn run(command: &str, rest: &[&str]) -> bool {
    match (command, rest) {
        // The mark is in the command line of all children.
        ("leave", [_mark]) => processes(),
        ("links", []) => links(),
        ("plant", folders) => {
            folders.iter().for_each(|folder| drop(std::fs::write(format!("{folder}/planted"), "x")));
            println!("done");
        }
        ("look", folders) => look(folders),
        _ => return false,
    }
    true
}

/// Forked twice, in a session of its own, deaf to every signal that can be ignored; another that is stopped; a third
/// that merely keeps the output open.
fn processes() {
    let own_session = || {
        // SAFETY: setsid takes nothing.
        unsafe { libc::setsid() };
    };
    child(|| {
        own_session();
        child(|| deaf(STAY_SECONDS));
    });
    child(|| {
        own_session();
        child(|| {
            // SAFETY: raise takes any number.
            unsafe { libc::raise(libc::SIGSTOP) };
            deaf(STAY_SECONDS);
        });
    });
    child(|| deaf(STAY_SECONDS));
    println!("started");
}

/// Links and other things that are no plain files, beside one that is.
fn links() {
    std::fs::write("good.txt", "fine").expect("the folder is the step's own");
    for (to, name) in [
        ("/etc/passwd", "one.txt"),
        ("../etc/passwd", "two.txt"),
        ("/proc/self/environ", "three.txt"),
        ("good.txt", "five.txt"),
        ("/etc", "etc"),
    ] {
        symlink(to, name).expect("a link can be made");
    }
    // SAFETY: the path is a C string.
    unsafe { libc::mkfifo(c"four.txt".as_ptr(), 0o666) };
    println!("done");
}

fn look(folders: &[&str]) {
    for folder in folders {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_name() != ".sagewai" {
                println!("{folder}/{}", entry.file_name().to_string_lossy());
            }
        }
    }
    println!("end");
}
