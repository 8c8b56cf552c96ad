//! Fakes, simulation and real components for tests. Never a dependency of what ships.

pub mod bitwarden;
pub mod dockerd;
pub mod http;
pub mod images;
pub mod kubernetes;
pub mod lambda;
pub mod moto;
pub mod onepassword;
pub mod openbao;
pub mod postgres;
pub mod program;
pub mod proxy;
pub mod python;
pub mod registry;
