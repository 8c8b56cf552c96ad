//! As much of AWS's protocols as a few calls need: credentials by the standard chain, Signature Version 4, requests with
//! retries.
//!
//! Not the vendor's SDK, because of its weight: with the Lambda client and its configuration it is 160 crates and six
//! minutes of processor time in a release build, as much as all the rest of the program.

mod client;
mod credentials;
mod error;
mod sigv4;

pub use client::Settings;
pub(super) use client::{Aws, Request, Response};
pub use error::AwsError;
