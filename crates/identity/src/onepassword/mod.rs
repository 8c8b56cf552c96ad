//! 1Password through a Connect server: an identity is an item of a vault, its keys are the item's fields.

pub mod store;

pub use store::OnePassword;
