//! The warm pool: single-use sandboxes that wait for work, handed out once.

mod claim;
mod config;
mod metrics;

pub use claim::Pool;
pub use config::PoolConfig;
pub use metrics::PoolMetrics;
