//! Wire types: what crosses a process boundary, in one place and with no logic but the codec of frames.
//!
//! - [`step`]: what a worker is asked to do and what it answers (planner → control → worker).
//! - [`frame`]: what worker and guest say to each other over one byte channel.
//! - [`lambda`]: what a worker invokes a Lambda function with, whose guest then dials it.
//! - [`broker`]: what a worker asks of the identity broker, and the grant that permits it.
//! - [`worker_api`] (feature `worker-api`): the gRPC stream between server and worker.

pub mod broker;
pub mod frame;
pub mod id;
pub mod lambda;
pub mod step;
#[cfg(feature = "worker-api")]
pub mod worker_api;
