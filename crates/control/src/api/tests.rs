//! The API over the memory store.
