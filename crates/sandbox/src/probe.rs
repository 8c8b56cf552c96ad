//! The probe: a static program with which the suites try a sandbox, built with this crate's feature `suites`.

/// A static ELF program that needs nothing of an image. `crates/guest/src/bin/probe` has its commands.
pub fn probe_binary() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/probe"))
}
