//! AWS Secrets Manager: an identity is a secret; its keys are the members of the JSON object that it holds, or `value` where it
//! holds something else. Three operations are all that is used, so they are signed and sent here: the SDK takes minutes to build.
//!
//! - [`store`]: the store.
//! - `credentials`: whose the requests are.
//! - [`signature`]: Signature Version 4.

mod credentials;
pub mod signature;
pub mod store;

pub use store::AwsSm;
