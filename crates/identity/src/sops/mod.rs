//! Files encrypted by SOPS, read by the documented format and never written: values by AES-256-GCM bound to their place, all of
//! them under one MAC, the data key wrapped to age recipients.
//!
//! - [`store`]: the store.
//! - `document`, `yaml`, `flat`: a file as a tree, from YAML and JSON, and from ENV and INI.
//! - [`mod@decrypt`]: data key, values, MAC.
//! - `shamir`: a data key in parts, where a file has key groups.

pub mod decrypt;
mod document;
mod flat;
mod shamir;
pub mod store;
mod yaml;

pub use store::Sops;
