//! Fakes, simulation and real components for tests. Never a dependency of what ships.

pub mod kubernetes;
