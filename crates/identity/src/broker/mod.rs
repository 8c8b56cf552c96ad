//! The broker: the process that trades a grant and a guest's key for sealed values.
//!
//! - [`core`]: the order of checks, without HTTP. [`backends`]: where values come from. [`leases`]: what is renewed and ended.
//! - `worker_api`, `admin_api`: HTTP on TCP for workers and on a Unix socket for the operator.
//! - [`folder`]: the state folder and its first making. [`trust`]: enrolled workers and trusted servers.
//! - [`single_use`]: which grants were used. [`journal`]: the one writer of that and of the audit trail.
//! - [`problem`]: refusals as RFC 9457 problems. [`harden`]: what the process does about its own memory.
//! - [`mod@serve`]: all of it together.

mod admin_api;
pub mod backends;
pub mod core;
pub mod folder;
pub mod harden;
pub mod journal;
pub mod leases;
mod listen;
pub mod problem;
pub mod serve;
pub mod single_use;
pub mod trust;
mod worker_api;

pub use folder::{InitError, init};
pub use serve::{BrokerConfig, Ready, ServeError, serve};
