//! The guest as the runtime of an AWS Lambda function: it takes one invocation, dials the worker that made it, serves its
//! step as in every other sandbox, and refuses whatever comes after.

mod dial;
mod freshness;
mod http;
mod runtime;
mod runtime_api;
mod terms;

pub(crate) use runtime::{is_bootstrap, run};
pub(crate) use terms::Terms;
