//! The warm pool: single-use sandboxes that wait for work, handed out once.
//!
//! Each waiting sandbox is owned by a task that watches it, so that handing it out moves it and cannot copy it.

mod claim;
mod config;
mod metrics;
mod refill;
mod shelf;

pub use claim::Pool;
pub use config::PoolConfig;
pub use metrics::PoolMetrics;
