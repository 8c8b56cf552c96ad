//! The worker: the only executor.
//!
//! It dials out to a server ([`connection`]), takes leased steps, runs each by its mode ([`step`]) and reports until the
//! server has acknowledged ([`outbox`]). It holds key names and sealed blobs that it cannot open, never a secret value.

pub mod agent;
mod artifact;
mod broker;
mod config;
mod connection;
mod error;
mod http_client;
mod log;
mod outbox;
mod outcome;
mod running;
mod sandboxes;
mod step;

pub use config::{BrokerAccess, Capacity, DEFAULT_SLOTS, DEFAULT_STEP_TIMEOUT, WorkerConfig};
pub use connection::{EnrolError, enrol, run};
pub use error::WorkerError;
