//! The probe: a static program that needs nothing of an image. As a step it attacks (`attack NAME…`), or does what plain
//! programs do, so that the suites try any sandbox with it. Its results are lines on standard output.

mod attacks;
mod attempt;
mod exhaust;
mod guest_tests;
mod leave;
mod plain;
mod tunnels;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.split_first() {
        Some((&"attack", names)) => attacks::run(names),
        Some((command, rest)) => {
            let known = plain::run(command, rest)
                || tunnels::run(command, rest)
                || leave::run(command, rest)
                || exhaust::run(command, rest)
                || guest_tests::run(command, rest);
            assert!(known, "unknown probe {words:?}");
        }
        None => panic!("a probe needs a command"),
    }
}
