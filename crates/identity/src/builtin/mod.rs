//! The builtin identity backend: one encrypted file. Names and metadata are clear, so that operators can list without the key;
//! each value is encrypted by itself; a MAC and a counter over everything show edits, swaps, cuts and older copies.
//!
//! - [`mod@format`]: the file's content and its MAC.
//! - [`crypto`]: subkeys, values.
//! - [`unlock`]: wrapping the data key to age recipients, and unlocking it.
//! - [`mod@file`]: the open file; `change` and `read` are its methods.

mod change;
#[cfg(test)]
mod conforms;
pub mod crypto;
pub mod file;
pub mod format;
mod read;
pub mod unlock;

pub use file::{BuiltinError, BuiltinFile, Expect};
pub use unlock::{Unlock, UnlockError};
