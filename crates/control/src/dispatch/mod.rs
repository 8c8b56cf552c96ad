//! Ready steps and the workers that take them: which step goes to whom, decided in memory by one owner.

pub(crate) mod board;
pub(crate) mod class;
pub(crate) mod leases;
pub(crate) mod queue;
