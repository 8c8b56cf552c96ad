//! The gRPC service that workers talk to.

mod service;

pub use service::{WorkerGateway, service};
