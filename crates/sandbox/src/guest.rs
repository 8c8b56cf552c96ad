//! The guest's program, built with this crate and embedded in it.

/// The guest: a static ELF program of at most 2 MB for this architecture.
pub fn guest_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/guest"))
}
