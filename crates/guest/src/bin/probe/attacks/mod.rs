//! The attacks. Each says `LEAKED …` for each way that worked, and `DONE NAME` at its end. What they need to know of the
//! outside is in variables whose names begin with `PROBE_`.

mod files;
mod guest;
mod kernel;
mod names;
mod network;
mod privileges;
mod settings;
mod sockets;
mod walls;

use std::io::Write;

/// What an attack is called, and what tries it.
type Attack = (&'static str, fn(i32));

const ATTACKS: &[Attack] = &[
    ("read-the-guest", guest::read),
    ("inherited-descriptors", guest::descriptors),
    ("nested-namespaces", walls::namespaces),
    ("change-mounts", walls::mounts),
    ("kernel-surface", kernel::surface),
    ("socket-families", sockets::families),
    ("gain-privileges", privileges::gain),
    ("networks-beyond-the-tunnel", network::beyond),
    ("look-alike-names", names::look_alikes),
    ("files-of-the-host", files::of_the_host),
    ("write-outside", files::outside),
    ("kernel-settings", settings::change),
    ("facts-of-the-host", settings::facts),
    ("type-into-the-terminal", settings::terminal),
    // The last: it may end the sandbox.
    ("kill-the-guest", guest::kill),
];

/// Tries the attacks of those names.
pub(crate) fn run(names: &[&str]) {
    let guest = crate::attempt::guest();
    for name in names {
        let (_, attack) = ATTACKS.iter().find(|(known, _)| known == name).expect("a known attack");
        println!("BEGIN {name}");
        attack(guest);
        println!("DONE {name}");
        drop(std::io::stdout().flush());
    }
}

/// What the outside told of itself; empty where it told nothing.
fn told(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}
