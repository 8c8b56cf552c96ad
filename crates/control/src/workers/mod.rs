//! Workers: enrolment, the gRPC service, a session per open stream, grants, and who lives.

mod blobs;
pub(crate) mod describe;
mod enrol;
pub(crate) mod grants;
pub(crate) mod link;
pub(crate) mod liveness;
pub(crate) mod registry;
pub(crate) mod reported;
mod service;
pub(crate) mod session;
mod stream;
mod wire;

pub use describe::WorkerInfo;
pub use service::{WorkerGateway, service};
pub use stream::WorkerStream;
