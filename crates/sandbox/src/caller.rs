//! The program that sends one request from inside a sandbox, built with this crate and embedded in it.

/// The caller: a static ELF program of at most 3 MB for this architecture. The crate `caller` says what it reads and prints.
pub fn caller_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/caller"))
}
