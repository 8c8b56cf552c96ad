//! Sandboxes that are invocations of an AWS Lambda function whose runtime is the guest.
//!
//! The worker invokes the function; the guest in it dials the worker's listener and they speak frames over a sealed channel
//! (`seal::channel`). Each invocation serves one step. `deploy` makes the function.

mod api;
mod aws;
mod backend;
mod configuration;
pub mod deploy;
mod invocation;
mod limits;
mod listener;
mod stream;
mod zip;

pub use api::{Function, Invoked, LambdaApi};
pub use aws::{AwsError, Settings as AwsSettings};
pub use backend::LambdaBackend;
pub use configuration::LambdaConfig;
pub use limits::{
    MAX_EPHEMERAL_MIB, MAX_MEMORY_MIB, MAX_TIMEOUT_SECONDS, MIB, MIN_EPHEMERAL_MIB, MIN_MEMORY_MIB,
};
